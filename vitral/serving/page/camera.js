// A picture from this machine's camera.

import { byId, make } from "./dom.js";

let stream = null;

/** Open the viewfinder; `take` gets a File for every picture that is taken. */
export async function open(take) {
  const video = byId("video");
  stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
  video.srcObject = stream;
  await video.play();
  byId("viewfinder").showModal();
  byId("shoot").onclick = () => {
    const canvas = make("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => {
      const name = `camera ${new Date().toLocaleTimeString()}.jpg`;
      if (blob) take(new File([blob], name, { type: "image/jpeg" }));
    }, "image/jpeg", 0.95);
    byId("viewfinder").close();
  };
  byId("leave").onclick = () => byId("viewfinder").close();
  byId("viewfinder").onclose = close;
}

function close() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
}
