// Tables and lists: each shows its part of one reading.

/** The cells of a table's rows, each with its column's name for where a row becomes a card. */
function row(table, kinds) {
  const labels = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const made = make('tr', { role: 'row' });
  kinds.forEach((kind, at) => {
    const head = at === 0;
    made.append(
      make(head ? 'th' : 'td', {
        ...(head ? { scope: 'row', role: 'rowheader' } : { role: 'cell' }),
        'data-label': labels[at],
        class: kind,
      }),
    );
  });
  return made;
}

/** Says texts in cells; `null` leaves a cell to somebody else. */
function fill(line, texts) {
  texts.forEach((text, at) => text !== null && say(line.cells[at], text));
}

function wear(cell, kind, base) {
  cell.className = base ? `${base} ${kind}` : kind;
}

function showManagers(requests, next, at) {
  const table = by('managers-table');
  const kinds = ['', ...Array(9).fill('number')];
  keep(table.tBodies[0], requests.managers.list, (one) => one.name, () => row(table, kinds), (line, one) => {
    const { interval, all } = one.ms;
    fill(line, [one.name, perSecond(rate(next, `manager ${one.name}`, one.rq_total, at).rate), count(one.rq_total),
      count(one.rq_2xx), count(one.rq_3xx), count(one.rq_4xx), count(one.rq_5xx),
      duration(interval.p50), duration(interval.p99), duration(all.p99)]);
    wear(line.cells[6], one.rq_5xx > 0 ? 'bad' : '', 'number');
  });
  more('managers-more', requests.managers, 'stat prefixes');
}

function showListeners(listeners) {
  const table = by('listeners-table');
  const kinds = ['', 'address', 'number', 'number'];
  keep(table.tBodies[0], listeners.list, (one) => one.name, () => row(table, kinds), (line, one) => {
    fill(line, [one.closed ? `${one.name} (drained)` : one.name, one.address, count(one.cx_active), count(one.cx_total)]);
  });
  more('listeners-more', listeners, 'listeners');
}

// === clusters ===

const CLUSTER = ['', 'words', 'number', 'line-cell', 'number', 'number', 'number', 'number', 'number'];
/** Clusters whose hosts somebody has shown or hidden. */
const turned = new Map();

/** Hosts are shown where there are few clusters, or where one of them is not well. */
function isOpen(cluster, few) {
  const ill = cluster.hosts_healthy < cluster.hosts.total;
  return turned.has(cluster.name) ? turned.get(cluster.name) : few || ill;
}

function showClusters(clusters, next, at) {
  const table = by('clusters-table');
  const lines = [];
  for (const cluster of clusters.list) {
    const open = isOpen(cluster, clusters.total <= 4);
    lines.push({ key: `cluster ${cluster.name}`, cluster, open });
    if (!open) continue;
    for (const host of cluster.hosts.list) lines.push({ key: `host ${cluster.name} ${host.address}`, host });
    if (cluster.hosts.left_out > 0) lines.push({ key: `more ${cluster.name}`, beyond: cluster.hosts.left_out });
  }
  const born = (line) => (line.cluster ? clusterRow(table, line.cluster) : hostRow(table));
  keep(table.tBodies[0], lines, (line) => line.key, born, (line, item) => {
    if (item.cluster) updateCluster(line, item, next, at);
    else if (item.host) updateHost(line, item, next, at);
    else fill(line, [`and ${some(item.beyond, 'more host', 'more hosts')}`, '', '', '', '', '', '', '', '']);
  });
  more('clusters-more', clusters, 'clusters');
  // Many scroll in their own box, which the keyboard must reach; the parts below stay near.
  const [box, many] = [by('clusters-box'), clusters.list.length > 12];
  box.className = many ? 'tall much' : '';
  if (many) box.tabIndex = 0;
  else box.removeAttribute('tabindex');
}

function clusterRow(table, cluster) {
  const line = row(table, CLUSTER);
  const twist = make('button', { type: 'button', class: 'twist' }, cluster.name);
  twist.addEventListener('click', () => {
    turned.set(cluster.name, twist.getAttribute('aria-expanded') !== 'true');
    show();
  });
  line.cells[0].append(twist);
  line.cells[3].append(make('span', { class: 'line' }));
  return line;
}

function hostRow(table) {
  const line = row(table, CLUSTER);
  line.classList.add('host');
  return line;
}

function updateCluster(line, { key, cluster, open }, next, at) {
  const { rate: requests, samples } = rate(next, key, cluster.rq_total, at);
  const { total } = cluster.hosts;
  const ill = total - cluster.hosts_healthy;
  let health = total === 0 ? 'no hosts' : `${cluster.hosts_healthy} of ${total} healthy`;
  if (!cluster.ready) health += ', waiting for its first answer';
  if (cluster.panic) health += ', panic: all are used';
  line.firstChild.firstChild.setAttribute('aria-expanded', open);
  fill(line, [null, `${ill > 0 ? '✕' : total > 0 ? '✓' : '–'} ${health}`, perSecond(requests), null,
    count(cluster.rq_total), count(cluster.rq_5xx), duration(cluster.ms.interval.p50),
    duration(cluster.ms.interval.p99), count(cluster.cx_active)]);
  wear(line.cells[1], ill > 0 ? 'bad' : total > 0 ? 'good' : 'odd', 'words');
  wear(line.cells[5], cluster.rq_5xx > 0 ? 'bad' : '', 'number');
  draw(line.cells[3].firstChild, samples, `requests per second to ${cluster.name}`);
}

function updateHost(line, { key, host }, next, at) {
  const name = host.hostname && !host.address.startsWith(host.hostname) ? `${host.address} ${host.hostname}` : host.address;
  const flags = host.health_flags.replace(/^\//, '').replaceAll('/', ', ');
  const weight = host.weight === 1 ? '' : `, weight ${host.weight}`;
  fill(line, [name, `${host.healthy ? '✓' : '✕'} ${flags}${weight}`,
    perSecond(rate(next, key, host.rq_total, at).rate), '', count(host.rq_total), count(host.rq_error), '', '',
    count(host.cx_active)]);
  wear(line.cells[1], !host.healthy ? 'bad' : flags === 'healthy' ? 'good' : 'odd', 'words');
  wear(line.cells[5], host.rq_error > 0 ? 'bad' : '', 'number');
}

// === actors ===

/** The tree is built anew when somebody comes or goes; else only what is said of each is. */
function showActors(actors) {
  const tree = by('actors');
  const shape = actors.list.map((one) => `${one.depth} ${one.name}`).join('\n');
  if (tree.shape !== shape) {
    tree.shape = shape;
    plant(tree, actors.list);
  }
  actors.list.forEach((one) => fare(tree.members.get(one.name), one));
  const fallen = actors.fallen > 0 ? `${count(actors.fallen)} fell and stood up again` : 'no restarts';
  say(by('actors-say'), `${count(actors.total)} on stage; ${fallen}`);
  more('actors-more', actors, 'actors');
}

function plant(tree, list) {
  tree.replaceChildren();
  tree.members = new Map();
  const open = [tree];
  for (const one of list) {
    open.length = Math.min(open.length, one.depth + 1);
    const parent = open[open.length - 1];
    const below = parent === tree ? tree : parent.lastElementChild.tagName === 'UL' ? parent.lastElementChild : null;
    const list = below || parent.appendChild(make('ul'));
    const line = make('div', {}, make('span', { class: 'who' }, one.name), make('span', { class: 'fares' }),
      make('span', { class: 'fall' }));
    const item = make('li', {}, line);
    list.append(item);
    open.push(item);
    tree.members.set(one.name, line);
  }
}

function fare(line, one) {
  const [, fares, fall] = line.children;
  say(fares, one.restarts > 0 ? `${one.state}, ${some(one.restarts, 'restart', 'restarts')}` : one.state);
  wear(fares, one.state === 'acting' && one.restarts === 0 ? '' : 'odd', 'fares');
  const ago = one.last_fall && span(Math.max(0, Date.now() / 1000 - one.last_fall.at));
  note(fall, one.last_fall ? `fell ${ago} ago: ${one.last_fall.why}` : '');
}
