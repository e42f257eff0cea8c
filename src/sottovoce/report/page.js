// One voice at a time: starting another version of the same example goes on from the same moment.
for (const example of document.querySelectorAll(".example")) {
  for (const version of example.querySelectorAll(".version")) {
    const audio = version.querySelector("audio");
    const head = version.querySelector(".playhead");
    const picture = version.querySelector(".spectrogram");
    const draw = () => {
      head.style.left = `${(100 * audio.currentTime) / (audio.duration || 1)}%`;
      if (!audio.paused) requestAnimationFrame(draw);
    };
    audio.addEventListener("play", () => {
      for (const other of document.querySelectorAll("audio")) {
        if (other === audio || other.paused) continue;
        if (example.contains(other)) audio.currentTime = Math.min(other.currentTime, audio.duration || 0);
        other.pause();
      }
      version.classList.add("on");
      draw();
    });
    audio.addEventListener("pause", () => version.classList.remove("on"));
    audio.addEventListener("seeked", draw);
    picture.addEventListener("click", (event) => {
      const box = picture.getBoundingClientRect();
      for (const other of example.querySelectorAll("audio")) if (other !== audio) other.pause();
      audio.currentTime = ((event.clientX - box.left) / box.width) * (audio.duration || 0);
      audio.play();
    });
  }
}
