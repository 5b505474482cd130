for (const box of document.querySelectorAll("[data-curve]")) {
  const curve = JSON.parse(box.dataset.curve), svg = box.parentNode.querySelector("svg"), view = svg.viewBox.baseVal;
  const bar = document.createElement("input"), words = document.createElement("output");
  const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  const says = (value) => Number(value.toPrecision(5)).toString();
  const show = () => {
    const i = Number(bar.value), cost = curve.announced[i], constant = curve.constant[i];
    dot.style.display = cost === null ? "none" : "";
    if (cost !== null) {
      dot.setAttribute("cx", curve.x[i] * view.width);
      dot.setAttribute("cy", curve.y[i] * view.height);
    }
    const loss = cost === null ? null : curve.better * (cost - curve.plan[1]);
    const noise = 1e-6 * Math.max(1, Math.abs(curve.plan[1]));
    words.textContent = `${curve.action} = ${says(curve.at[i])}: ` + (cost === null ? "not possible" :
      `objective ${says(cost)} under the rule, ` + (Math.abs(loss) <= noise ? "as good as the plan" :
      `${says(Math.abs(loss))} ${loss > 0 ? "worse" : "better"} than the plan`)) +
      (constant === null ? "" : `; ${says(constant)} with a constant leader`);
  };
  Object.assign(bar, { type: "range", min: 0, max: curve.at.length - 1, step: 1 });
  const start = curve.at.map((value) => Math.abs(value - curve.plan[0]));
  bar.value = start.indexOf(Math.min(...start));
  bar.setAttribute("aria-label", `${curve.action}: leave the plan`);
  dot.setAttribute("r", 5); dot.setAttribute("fill", "var(--second)");
  svg.append(dot); box.append(bar, words);
  bar.addEventListener("input", show); show();
}
