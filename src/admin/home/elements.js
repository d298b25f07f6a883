'use strict';
// What the rest of the page is made with. Data only ever becomes text, never markup.

const SAMPLES = 60;
const by = (id) => document.getElementById(id);

/** Makes an element with attributes and children; a text is a child too. */
function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Says a text, if it is not there already: a live region shall not repeat itself. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Says a text, or hides the element where there is none. */
function note(element, text) {
  say(element, text);
  element.hidden = text === '';
}

/** One child for each item, in order. Who stays is the same element, so nothing loses focus or input. */
function keep(parent, items, keyOf, born, update) {
  const before = parent.kept || new Map();
  const now = new Map();
  const focused = document.activeElement;
  let at = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const child = before.get(key) || born(item);
    now.set(key, child);
    update(child, item);
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
  for (const [key, child] of before) if (!now.has(key)) child.remove();
  parent.kept = now;
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
}

/** What was left out of a list, or that there is nothing in it. */
function more(id, list, what) {
  note(by(id), list.left_out > 0 ? `${count(list.left_out)} more ${what} not shown` : list.total === 0 ? `No ${what}` : '');
}

/** Why there was no answer. */
const silence = (error) => (error.name === 'TimeoutError' ? 'no answer in time' : 'no connection');

// === numbers ===

const count = (value) => value.toLocaleString('en');

function perSecond(value) {
  if (value === null) return '–';
  const digits = value > 0 && value < 10 ? 1 : 0;
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function duration(ms) {
  if (ms === null) return '–';
  // Times are counted in whole milliseconds.
  if (ms < 1) return '< 1 ms';
  if (ms >= 1000) return `${(ms / 1000).toPrecision(3)} s`;
  return `${ms >= 100 ? Math.round(ms) : ms.toFixed(1)} ms`;
}

function span(seconds) {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${Math.floor(seconds) % 60} s` : `${Math.floor(seconds)} s`;
}

const some = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;

// === rates ===

let seen = new Map();

/** How fast a counter rises, from this reading and the one before; its samples are kept for the line. */
function rate(next, key, value, at) {
  const before = seen.get(key);
  let entry = { at, value, rate: null, samples: [] };
  if (before && at - before.at < 1000) {
    entry = before;
  } else if (before && value >= before.value) {
    entry.rate = ((value - before.value) * 1000) / (at - before.at);
    entry.samples = [...before.samples, entry.rate].slice(-SAMPLES);
  }
  next.set(key, entry);
  return entry;
}

// === lines ===

function svg(name, attributes) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** Draws samples as a line; the newest stands at the right. */
function draw(place, samples, what) {
  let image = place.firstElementChild;
  if (!image) {
    image = svg('svg', { viewBox: `0 0 ${SAMPLES - 1} 20`, preserveAspectRatio: 'none', role: 'img' });
    image.append(svg('path', { class: 'below' }), svg('path', {}));
    place.append(image);
  }
  const top = Math.max(...samples, 1e-9);
  const x = (at) => SAMPLES - samples.length + at;
  const points = samples.map((sample, at) => `${x(at)} ${(19 - (sample / top) * 18).toFixed(2)}`);
  const line = points.length > 1 ? `M${points.join('L')}` : '';
  image.firstElementChild.setAttribute('d', line && `${line}L${SAMPLES - 1} 20L${x(0)} 20Z`);
  image.lastElementChild.setAttribute('d', line);
  const highest = samples.length > 0 ? perSecond(Math.max(...samples)) : 'none yet';
  image.setAttribute('aria-label', `${what} over the last polls, at most ${highest}`);
}
