// Runs in the page: samples a video twice, at least five frames apart if it moves at all.
async (selector) => {
  const video = document.querySelector(selector);
  const canvas = document.createElement("canvas");
  canvas.width = 64;
  canvas.height = 36;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const counted = () => video.getVideoPlaybackQuality().totalVideoFrames;
  const look = () => {
    context.drawImage(video, 0, 0, canvas.width, canvas.height);
    return context.getImageData(0, 0, canvas.width, canvas.height).data;
  };
  const first = look();
  // Firefox counts no frames of a call, and Chromium calls back for no page in the background.
  const before = counted();
  let presented = 0;
  const present = () => {
    presented += 1;
    if (presented < 5) video.requestVideoFrameCallback(present);
  };
  video.requestVideoFrameCallback(present);
  const goesOn = () => presented >= 5 || counted() >= before + 5;
  for (let i = 0; i < 400 && (i < 6 || !goesOn()); i += 1) await new Promise((done) => setTimeout(done, 50));
  const second = look();
  const sums = [0, 0, 0];
  let difference = 0;
  for (let i = 0; i < second.length; i += 1) {
    if (i % 4 === 3) continue;
    sums[i % 4] += second[i];
    difference += Math.abs(second[i] - first[i]);
  }
  const pixels = canvas.width * canvas.height;
  const [r, g, b] = sums.map((sum) => sum / pixels);
  return { r, g, b, motion: difference / pixels / 3, width: video.videoWidth, height: video.videoHeight, frames: counted() };
}
