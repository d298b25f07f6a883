// The poll: one reading every two seconds while somebody looks; what was shown stays when one fails.

const EVERY_MS = 2000;
let shown = null;
let timer = 0;
let turn = 0;
let paused = false;
let lostAt = null;

async function poll() {
  clearTimeout(timer);
  const mine = ++turn;
  const filter = by('filter').value;
  let said;
  try {
    const answer = await fetch(`overview?filter=${escaped(filter)}`, { signal: AbortSignal.timeout(10000) });
    said = answer.ok ? { data: await answer.json() } : { status: answer.status, text: (await answer.text()).trim() };
  } catch (error) {
    said = { text: silence(error) };
  }
  // A later poll has been made meanwhile: its answer counts.
  if (mine !== turn) return;
  receive(said, filter);
  if (!paused && !document.hidden) timer = setTimeout(poll, EVERY_MS);
}

function receive({ data, status, text }, filter) {
  const broken = status === 400 && filter !== '';
  note(by('filter-error'), broken ? text : '');
  by('filter').setAttribute('aria-invalid', broken);
  if (!broken) {
    lostAt = data ? null : lostAt || new Date();
    document.body.classList.toggle('stale', !data);
    const since = lostAt && `Not reachable since ${lostAt.toLocaleTimeString('en-GB')}: ${status ? `${status}, ` : ''}${text}`;
    say(by('reach'), since || '');
  }
  if (data) {
    // After a restart every counter begins anew.
    if (shown && data.uptime_ms < shown.uptime_ms) seen = new Map();
    shown = data;
    show();
    by('plain').hidden = true;
    by('live').hidden = false;
  }
}

function show() {
  if (!shown) return;
  const [next, at, locked] = [new Map(), shown.uptime_ms, shown.read_only];
  showTop(shown);
  showTiles(shown, next, at);
  showManagers(shown.requests, next, at);
  showListeners(shown.listeners);
  showClusters(shown.clusters, next, at);
  showActors(shown.actors);
  showHealth(shown.health_failed, locked);
  showReload(shown.reload);
  showLoggers(shown.loggers, locked);
  showRuntime(shown.runtime, locked);
  note(by('locked'), locked ? 'This port is read-only: nothing can be changed here.' : '');
  seen = next;
}

function showTop(data) {
  say(by('state'), data.state);
  by('state').classList.toggle('live', data.state === 'LIVE');
  say(by('up'), `up ${span(data.uptime_ms / 1000)}`);
}

function showReload(last) {
  const ago = last && span(Math.max(0, Date.now() / 1000 - last.at));
  const outcome = last && (last.refused ? '✕ Refused' : '✓ In force');
  say(by('reload-says'), last ? `${outcome}, ${ago} ago, asked for by ${last.who}` : 'Nobody has reloaded yet');
  by('reload-says').className = !last ? '' : last.refused ? 'bad' : 'good';
  by('reload-more').hidden = !last;
  say(by('reload-told'), last ? last.says : '');
}

function showTiles(data, next, at) {
  const { all } = data.requests;
  const requests = rate(next, 'requests', all.rq_total, at);
  const errors = rate(next, 'errors', all.rq_5xx, at);
  say(by('rps'), perSecond(requests.rate));
  draw(by('rps-line'), requests.samples, 'requests per second');
  for (const which of ['p50', 'p99']) {
    say(by(which), duration(all.ms.interval[which]));
    say(by(`${which}-all`), `since start ${duration(all.ms.all[which])}`);
  }
  say(by('errors'), perSecond(errors.rate));
  by('errors').className = errors.rate > 0 ? 'bad' : '';
  const answers = all.rq_1xx + all.rq_2xx + all.rq_3xx + all.rq_4xx + all.rq_5xx;
  const share = answers > 0 ? (100 * all.rq_5xx) / answers : 0;
  say(by('errors-all'), `since start ${share > 0 && share < 0.1 ? '< 0.1' : share.toFixed(1)} %`);
  say(by('connections'), count(data.connections));
  say(by('active'), some(all.rq_active, 'request in flight', 'requests in flight'));
  const { hosts, hosts_healthy: healthy, all: clusters } = data.clusters;
  say(by('healthy'), healthy < hosts ? `${count(healthy)} of ${count(hosts)}` : count(hosts));
  by('healthy').className = healthy < hosts ? 'bad' : '';
  say(by('healthy-in'), `${healthy < hosts ? `✕ ${count(hosts - healthy)} ill` : '✓ all'}, in ${some(clusters, 'cluster', 'clusters')}`);
}

for (const id of ['pause', 'parts']) by(id).hidden = false;
by('pause').addEventListener('click', () => {
  paused = !paused;
  say(by('pause'), paused ? 'Resume' : 'Pause');
  clearTimeout(timer);
  if (!paused) poll();
});
by('filter').addEventListener('input', () => {
  clearTimeout(timer);
  timer = setTimeout(poll, 250);
});
document.addEventListener('visibilitychange', () => {
  clearTimeout(timer);
  if (!document.hidden && !paused) poll();
});
poll();
