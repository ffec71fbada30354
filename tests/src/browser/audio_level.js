// Runs in the page: returns the RMS of the loudest moment of a peer's sound, behind the decoder. Listens for
// `milliseconds`, or until the level is `enough`. Null if the peer has no audio track.
async (selector, milliseconds, enough) => {
  const stream = document.querySelector(selector)?.srcObject;
  if (!stream?.getAudioTracks().length) return null;
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  analyser.fftSize = 2048;
  context.createMediaStreamSource(stream).connect(analyser);
  await context.resume();
  const samples = new Float32Array(analyser.fftSize);
  let loudest = 0;
  for (const end = performance.now() + milliseconds; performance.now() < end && loudest < enough; ) {
    await new Promise((done) => setTimeout(done, 20));
    analyser.getFloatTimeDomainData(samples);
    const square = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    loudest = Math.max(loudest, Math.sqrt(square));
  }
  await context.close();
  return loudest;
}
