"""What happened to every tensor of a file on its way into a model."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class LoadReport:
    """An account of a load. Nothing is read without appearing here, and nothing unexplained is let through.

    Attributes:
        source: the file or folder.
        layout: whose names the file uses.
        read: how many tensors went in, resized ones included.
        renamed: (name in the file, name in the model) where they differ.
        reformed: how many were transposed, joined and so on, by what was done.
        resized: (name, shape in the file, shape in the model).
        reinitialised: names that start from their initial values instead of the file's.
        dropped: names in the file that the model does not want, with the reason.
        notes: what else there is to say about the file.
    """

    source: str
    layout: str
    read: int = 0
    renamed: list[tuple[str, str]] = field(default_factory=list)
    reformed: dict[str, int] = field(default_factory=dict)
    resized: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    reinitialised: list[str] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The account in one line per kind of event."""
        done = "".join(f", {count} {what}" for what, count in self.reformed.items())
        said = [
            f"{self.read} tensors read from {self.source} ({self.layout} layout, {len(self.renamed)} renamed{done})"
        ]
        said += self.notes
        for name, old, new in self.resized:
            said.append(f"{name} resized from {list(old)} to {list(new)}")
        if self.reinitialised:
            said.append(f"starting anew: {', '.join(self.reinitialised)}")
        for name, reason in self.dropped:
            said.append(f"left out {name}: {reason}")
        return said
