(() => {
  const tokens = [...document.querySelectorAll("[data-nll]")];
  if (!tokens.length) return;
  const root = document.querySelector(".ppx-view");
  const nll = tokens.map((token) => Number(token.dataset.nll));
  const was = tokens.map((token) => token.classList.contains("x"));
  const movable = tokens.map((token, i) => !token.classList.contains("special") || was[i]);
  const total = nll.reduce((sum, value) => sum + value, 0);
  const panel = document.createElement("div");
  panel.className = "panel";
  const make = (tag, text) => {
    const element = document.createElement(tag);
    element.textContent = text;
    panel.append(element);
    return element;
  };
  const about = make("output", "Point at a token, or tap it.");
  const label = make("label", "Try a threshold ");
  const slider = document.createElement("input");
  Object.assign(slider, { type: "range", min: 1, max: 1000, value: start() });
  label.append(slider);
  const result = make("output", "");
  const reset = make("button", "Reset");
  reset.type = "button";
  root.append(panel);

  // Equal steps of nll from 0.01 to 7.6 on a square scale: fine near 1, where most tokens lie.
  function line() {
    return 0.01 + 7.6 * (slider.value / 1000) ** 2;
  }
  function start() {
    const given = Number(root.dataset.threshold);
    return given > 1 ? Math.round(1000 * Math.sqrt(Math.max(0, (Math.log(given) - 0.01) / 7.6))) : 350;
  }
  function strike(index, struck) {
    tokens[index].classList.toggle("x", struck);
    if (struck) tokens[index].setAttribute("role", "deletion");
    else tokens[index].removeAttribute("role");
  }
  function tell(name) {
    let masked = 0, lost = 0;
    tokens.forEach((token, i) => {
      if (token.classList.contains("x")) { masked += 1; lost += nll[i]; }
    });
    const share = (100 * masked / tokens.length).toFixed(1);
    const kept = total ? (100 * (1 - lost / total)).toFixed(1) : "100.0";
    result.textContent = `${name}: ${share}% masked, ${kept}% of loss kept`;
  }
  slider.addEventListener("input", () => {
    const limit = line();
    tokens.forEach((_, i) => strike(i, movable[i] && nll[i] > limit));
    tell(Math.exp(limit).toPrecision(3));
    reset.disabled = false;
  });
  reset.addEventListener("click", () => {
    was.forEach((struck, i) => strike(i, struck));
    slider.value = start();
    tell("As prepared");
    reset.disabled = true;
  });
  let chosen = null;
  const choose = (event) => {
    const token = event.target.closest ? event.target.closest(".t") : null;
    if (!token || token === chosen) return;
    if (chosen) chosen.classList.remove("chosen");
    chosen = token;
    token.classList.add("chosen");
    const mark = token.classList.contains("x") ? "masked" : "kept";
    about.textContent = token.title.replace(/(masked|kept)$/, mark);
  };
  document.addEventListener("pointerover", choose);
  document.addEventListener("click", choose);
  reset.disabled = true;
  tell("As prepared");
})();
