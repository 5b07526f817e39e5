'use strict';
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const kinds = ['scene', 'row', 'metric', 'figure'];
  const state = { scene: '0', row: null, metric: null, figure: null };

  // Of the parts that are chosen by scene, row and so on, one is seen at a time. A part that has no such part for the
  // chosen one shows nothing.
  function show() {
    for (const kind of kinds) {
      if (state[kind] === null) continue;
      for (const part of all(`[data-${kind}]`)) part.hidden = part.dataset[kind] !== state[kind];
    }
    for (const line of all('[data-of]')) line.classList.toggle('picked', line.dataset.of === state.row);
    all('.viewer').forEach(fill);
  }

  for (const kind of kinds) {
    const choice = document.getElementById(kind);
    if (!choice) continue;
    state[kind] = choice.value;
    choice.addEventListener('change', () => { state[kind] = choice.value; show(); });
  }

  // A line of a table chooses its row, too.
  for (const line of all('[data-of]')) {
    line.addEventListener('click', () => {
      const choice = document.getElementById('row');
      if (!choice || ![...choice.options].some(one => one.value === line.dataset.of)) return;
      choice.value = line.dataset.of;
      choice.dispatchEvent(new Event('change'));
    });
  }

  function source(viewer, choice) {
    const [key, row] = choice.split(':');
    const pictures = all(`.panel img[data-key="${key}"]`, viewer);
    const owned = pictures.filter(one => one.closest('[data-row]'));
    return owned.length ? owned.find(one => one.closest('[data-row]').dataset.row === (row || state.row)) : pictures[0];
  }

  function fill(viewer) {
    for (const [side, look] of [['left', 'over'], ['right', 'under']]) {
      const choice = viewer.querySelector(`select.${side}`);
      if (!choice) return;
      const found = source(viewer, choice.value);
      const picture = viewer.querySelector(`.slider .${look}`);
      const told = viewer.querySelector(`.tell-${side}`);
      picture.hidden = !found;
      if (found && picture.src !== found.src) picture.src = found.src;
      if (found) picture.alt = found.alt;
      told.textContent = found ? found.alt : 'no picture of this row';
    }
  }

  for (const viewer of all('.viewer')) {
    for (const choice of all('select', viewer)) choice.addEventListener('change', () => fill(viewer));
    const slider = viewer.querySelector('.slider');
    if (!slider) continue;
    const knob = slider.querySelector('input');
    const move = () => slider.style.setProperty('--at', `${knob.value}%`);
    knob.addEventListener('input', move);
    knob.addEventListener('keydown', event => {
      const steps = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageUp: 10, PageDown: -10 };
      if (!(event.key in steps)) return;
      event.preventDefault();
      knob.value = Number(knob.value) + steps[event.key];
      move();
    });
    move();
  }

  for (const button of all('.copy')) {
    button.addEventListener('click', async () => {
      const text = button.parentElement.querySelector('code').textContent;
      try { await navigator.clipboard.writeText(text); } catch {
        const range = document.createRange();
        range.selectNodeContents(button.parentElement.querySelector('code'));
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        document.execCommand('copy');
      }
      button.textContent = 'Copied';
      setTimeout(() => { button.textContent = 'Copy'; }, 1500);
    });
  }

  addEventListener('beforeprint', () => all('details').forEach(one => { one.open = true; }));
  all('.needs-script').forEach(one => { one.hidden = false; });
  show();
})();
