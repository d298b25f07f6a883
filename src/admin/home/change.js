// What can be changed in place. The outcome is told in words, and refusals in the words of the admin port.

/** Changes go one after the other, so that the last one made is the one that stays. */
let changes = Promise.resolve();

function change(target, done) {
  changes = changes.then(() => send(target, done));
  return changes;
}

/** The outcome is told when the page shows it. */
async function send(target, done) {
  let refused = null;
  try {
    const answer = await fetch(target, { method: 'POST', signal: AbortSignal.timeout(15000) });
    const text = (await answer.text()).trim().split('\n')[0];
    if (!answer.ok) refused = `${answer.status}, ${text}`;
  } catch (error) {
    refused = silence(error);
  }
  await poll();
  outcome(refused === null ? done : `Not changed: ${refused}`, refused !== null);
}

function outcome(text, refused) {
  const line = by('outcome');
  line.className = refused ? 'refused' : '';
  line.textContent = text;
  clearTimeout(line.timer);
  line.timer = setTimeout(() => (line.textContent = ''), refused ? 20000 : 6000);
}

const escaped = encodeURIComponent;

// === health checks ===

function showHealth(failed, locked) {
  say(by('health-says'), failed ? '✕ Failing on request: /ready says 503' : '✓ Not told to fail');
  by('health-says').className = failed ? 'bad' : 'good';
  say(by('health'), failed ? 'Pass health checks' : 'Fail health checks');
  by('health').disabled = locked;
}

by('health').addEventListener('click', () => {
  const failed = shown.health_failed;
  change(failed ? 'healthcheck/ok' : 'healthcheck/fail', failed ? 'Health checks pass again' : 'Health checks fail now');
});

// === log levels ===

function showLoggers(loggers, locked) {
  const wanted = by('loggers-filter').value.trim().toLowerCase();
  const often = common(loggers.list);
  const others = loggers.list.filter((one) => one.level !== often).map((one) => `${one.name} at ${one.level}`);
  const said = others.length > 6 ? [...others.slice(0, 6), `${others.length - 6} more differ`] : others;
  say(by('loggers-say'), `${loggers.list.length - others.length} of ${loggers.list.length} at ${[often, ...said].join(', ')}`);
  choices(by('loggers-all'), loggers.levels, locked);
  const list = loggers.list.filter((one) => one.name.includes(wanted));
  keep(by('loggers'), list, (one) => one.name, (one) => loggerLine(one, loggers.levels), (line, one) => {
    const select = line.lastChild;
    select.disabled = locked;
    if (select.waiting !== true) select.value = one.level;
    line.className = one.level === often ? '' : 'changed';
  });
}

/** The level that most have. */
function common(list) {
  const times = new Map();
  for (const { level } of list) times.set(level, (times.get(level) || 0) + 1);
  return [...times].sort((a, b) => b[1] - a[1])[0][0];
}

function choices(select, levels, locked) {
  if (select.length < levels.length) select.append(...levels.map((level) => new Option(level)));
  select.disabled = locked;
}

function loggerLine(logger, levels) {
  const select = make('select', { name: logger.name });
  choices(select, levels, false);
  select.addEventListener('change', async () => {
    const level = select.value;
    select.waiting = true;
    await change(`logging?${escaped(logger.name)}=${escaped(level)}`, `Logger ${logger.name} is at ${level}`);
    select.waiting = false;
    show();
  });
  return make('label', {}, make('span', {}, logger.name), select);
}

by('loggers-filter').addEventListener('input', () => show());
by('loggers-all').addEventListener('change', async () => {
  const select = by('loggers-all');
  const level = select.value;
  if (level) await change(`logging?level=${escaped(level)}`, `All loggers are at ${level}`);
  select.value = '';
});

// === runtime ===

function showRuntime(runtime, locked) {
  const shut = locked || !runtime.admin_layer;
  note(by('runtime-note'), runtime.admin_layer ? ''
    : 'The configuration has no admin_layer in layered_runtime, so values cannot be changed here.');
  keep(by('runtime'), runtime.list, (one) => one.key, (one) => runtimeLine(one.key), (line, one) => {
    const form = line.firstChild;
    const [key, input, set, remove] = form.children;
    say(key.lastChild, one.overridden ? `overridden in ${one.layer}` : `from ${one.layer}`);
    if (input.value === (form.known ?? '')) input.value = one.value;
    form.known = one.value;
    for (const control of [input, set, remove]) control.disabled = shut;
    remove.hidden = !one.overridden;
  });
  by('runtime').hidden = runtime.list.length === 0;
  more('runtime-more', runtime, 'keys');
  for (const id of ['override-key', 'override-value', 'override-add']) by(id).disabled = shut;
}

function runtimeLine(name) {
  const input = make('input', { 'aria-label': `Value of ${name}`, required: '', autocomplete: 'off', spellcheck: 'false' });
  const remove = make('button', { type: 'button', 'aria-label': `Remove override of ${name}` }, 'Remove override');
  const form = make('form', {}, make('span', { class: 'key' }, name, make('small')), input,
    make('button', { 'aria-label': `Set ${name}` }, 'Set'), remove);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    form.known = input.value;
    override(name, input.value);
  });
  remove.addEventListener('click', async () => {
    form.known = input.value;
    await change(`runtime_modify?${escaped(name)}=`, `The override of ${name} is removed`);
    // The control is gone with the override: whoever goes on by keyboard goes on from here.
    if (document.activeElement === document.body) (input.isConnected ? input : by('override-key')).focus();
  });
  return make('li', {}, form);
}

function override(name, value) {
  return change(`runtime_modify?${escaped(name)}=${escaped(value)}`, `${name} is ${value}`);
}

by('override').addEventListener('submit', async (event) => {
  event.preventDefault();
  const [key, value] = [by('override-key'), by('override-value')];
  await override(key.value.trim(), value.value);
  if (shown.runtime.list.some((one) => one.key === key.value.trim() && one.value === value.value)) {
    key.value = value.value = '';
    if (by('override').contains(document.activeElement)) key.focus();
  }
});
