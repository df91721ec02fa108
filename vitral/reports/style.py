"""The style sheet of the page and its charts: light, dark, narrow and print. Text has a contrast of 4.5 or more."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --panel: #f5f6f8; --text: #1b1f24; --soft: #545d68; --edge: #d5dae1; --link: #0b5cad;
  --s0: #b04a00; --s1: #0b5cad; --bar: #8fb3dc; --warn: #fff3d6; --warn-edge: #c98a00;
  --good: #1d6b37; --bad: #a3261b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171c; --panel: #1d2127; --text: #e6e9ee; --soft: #a7b0bc; --edge: #38404b; --link: #86bcf7;
    --s0: #f2a65e; --s1: #86bcf7; --bar: #3f6490; --warn: #33290f; --warn-edge: #d9a53a;
    --good: #7fd39a; --bad: #ff9d8f;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.55 system-ui, "Segoe UI", Roboto,
  "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif; }
header, nav, main, footer { max-width: 1120px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 32px; }
h1, h2, h3, p, dl, ol, ul, figure { margin: 0; }
h1 { font-size: 1.9rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; line-height: 1.3; padding: 40px 0 8px; scroll-margin-top: 8px; }
h3 { font-size: 1rem; padding: 20px 0 6px; }
p, li { max-width: 72ch; overflow-wrap: anywhere; }
a { color: var(--link); }
a:focus-visible, [tabindex]:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 2px; }
.skip { position: absolute; left: -999px; }
.skip:focus { left: 16px; top: 8px; background: var(--page); padding: 8px 12px; z-index: 1; }
.brand { display: flex; align-items: center; gap: 10px; color: var(--soft); font-size: .9rem; padding-bottom: 14px; }
.brand svg { width: 26px; height: 26px; flex: none; }
.about { color: var(--soft); padding-top: 6px; overflow-wrap: anywhere; max-width: none; }
.verdict { font-size: 1.15rem; line-height: 1.5; padding: 18px 0 4px; max-width: 68ch; }
.soft { color: var(--soft); font-size: .92rem; padding: 6px 0; }
.missing { border-left: 4px solid var(--edge); padding: 4px 0 4px 12px; color: var(--soft); }
.warning { background: var(--warn); border-left: 4px solid var(--warn-edge); padding: 8px 12px; margin: 8px 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 12px; padding: 18px 0 4px; }
.tiles div { background: var(--panel); border: 1px solid var(--edge); border-radius: 8px; padding: 12px 14px; }
.tiles dt { color: var(--soft); font-size: .88rem; }
.tiles dd { margin: 0; }
.tiles .value { font-size: 1.6rem; font-weight: 650; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tiles .note { color: var(--soft); font-size: .88rem; }
nav { padding-top: 18px; }
nav ul { display: flex; flex-wrap: wrap; gap: 4px 20px; list-style: none; padding: 10px 0;
  border: solid var(--edge); border-width: 1px 0; }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 16px;
  padding: 10px 0; }
.curves figure { border: 1px solid var(--edge); border-radius: 8px; padding: 8px; break-inside: avoid; min-width: 0; }
.curves figure:only-child { max-width: 560px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); font-size: .92rem; padding: 4px 0 8px; }
th, td { text-align: left; padding: 6px 20px 6px 0; border-bottom: 1px solid var(--edge); vertical-align: top; }
thead th { font-size: .88rem; color: var(--soft); vertical-align: bottom; }
th small, td:not(.number) small { display: block; color: var(--soft); font-size: .82rem; font-weight: 400; }
tbody th { font-weight: 400; overflow-wrap: anywhere; min-width: 12ch; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.number small { display: block; color: var(--soft); font-size: .8rem; }
tr { break-inside: avoid; }
td.gap { color: var(--soft); text-align: center; }
svg.bar { width: 120px; height: 10px; display: block; margin-top: 7px; background: var(--panel); border-radius: 2px; }
svg.bar rect { fill: var(--bar); }
.settings { width: 100%; table-layout: fixed; }
.settings th:first-child { width: 64%; }
.settings .part th { font-weight: 650; padding-top: 20px; width: auto; }
.settings td { overflow-wrap: anywhere; padding-right: 0; }
.settings small { display: block; color: var(--soft); font-size: .88rem; }
code, pre { font-family: ui-monospace, "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: .92em; }
pre { background: var(--panel); border: 1px solid var(--edge); border-radius: 8px; padding: 14px 16px; margin: 8px 0;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.fold > summary { cursor: pointer; color: var(--link); padding: 10px 0; }
/* A browser without this selector shows the line to open it at every width, so that nothing is out of reach. */
@supports selector(::details-content) { @media (min-width: 601px), print {
  .fold > summary { display: none; } .fold::details-content { content-visibility: visible; }
} }
footer { color: var(--soft); font-size: .88rem; padding-top: 40px; padding-bottom: 40px; }
.curve { display: block; width: 100%; height: auto; font-size: 13px; }
.curve text { fill: var(--text); font-family: inherit; }
.curve .title { font-size: 15px; font-weight: 650; }
.curve .unit, .curve .tick { fill: var(--soft); font-weight: 400; font-size: 13px; font-variant-numeric: tabular-nums; }
.curve .end { text-anchor: end; } .curve .middle { text-anchor: middle; } .curve .start { text-anchor: start; }
.curve path { fill: none; }
.curve .grid { stroke: var(--edge); stroke-width: .75; } .curve .axis { stroke: var(--soft); }
.curve .mark { stroke: var(--soft); stroke-dasharray: 2 3; }
.curve .line { stroke-linejoin: round; stroke-linecap: round; }
.curve .s0.line { stroke: var(--s0); stroke-width: 1.5; } .curve .s0.dot { fill: var(--s0); }
.curve .s1.line { stroke: var(--s1); stroke-width: 2.25; stroke-dasharray: 7 4; } .curve .s1.dot { fill: var(--s1); }
@media (max-width: 600px) {
  header, nav, main, footer { padding-left: 16px; padding-right: 16px; }
  header { padding-top: 20px; }
  h1 { font-size: 1.5rem; }
  .verdict { font-size: 1.05rem; }
  .tiles { grid-template-columns: 1fr 1fr; gap: 8px; }
  .tiles div { padding: 10px; } .tiles .value { font-size: 1.3rem; }
  th, td { padding-right: 12px; }
  .bar { display: none !important; }
  thead th.number { white-space: normal; }
  .scroll { font-size: .92rem; } .scroll th, .scroll td { padding-right: 8px; }
  .settings th:first-child { width: 58%; }
  .wide { min-width: 560px; }
  .curve, .curve .unit, .curve .tick { font-size: 16px; } .curve .title { font-size: 18px; }
}
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
@media print {
  :root { color-scheme: light;
    --page: #fff; --panel: #fff; --text: #000; --soft: #444; --edge: #bbb; --link: #000; --s0: #b04a00; --s1: #0b5cad;
    --bar: #8fb3dc; --warn: #fff; --good: #1d6b37; --bad: #a3261b; }
  body { font-size: 10.5pt; } nav, .skip { display: none; } h2 { break-after: avoid; }
  header, main, footer { max-width: none; padding-left: 0; padding-right: 0; }
  .curves { grid-template-columns: 1fr 1fr; } svg.bar { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
@page { margin: 16mm; }
"""
