'use strict';
// Everything that comes from the writer goes into the page as text, never as
// markup: names of files are whatever somebody called a file.
const $ = id => document.getElementById(id);
const number = n => Math.round(n).toLocaleString('en');
const bytes = n => { let u = 0; while (n >= 1000 && u < 4) { n /= 1000; u++; } return (u && n < 100 ? n.toFixed(1) : Math.round(n)) + ' ' + ['B', 'kB', 'MB', 'GB', 'TB'][u]; };
const seconds = s => s < 0.001 ? Math.round(s * 1e6) + ' µs' : s < 1 ? Math.round(s * 1e3) + ' ms' : s < 120 ? s.toFixed(s < 10 ? 1 : 0) + ' s' : s < 7200 ? Math.round(s / 60) + ' min' : (s / 3600).toFixed(1) + ' h';
const clock = at => at ? new Date(at).toLocaleTimeString() : 'never';
const text = (id, value) => { const e = $(id); if (e.textContent !== value) e.textContent = value; };
function element(name, content, className) {
  const e = document.createElement(name);
  if (content !== undefined) e.textContent = content;
  if (className) e.className = className;
  return e;
}
function list(id, pairs) {
  const flat = pairs.flat().map(String), dl = $(id);
  if (dl.dataset.shown === JSON.stringify(flat)) return;
  dl.dataset.shown = JSON.stringify(flat);
  dl.replaceChildren(...pairs.flatMap(([k, v]) => [element('dt', k), element('dd', v)]));
}

// Charts of the last minutes.
const samples = [];
const most = 300; // seconds
let span = 60;
const charts = [
  { title: 'Rows per second', lines: [['added', 'one', (a, b) => (b.added - a.added) / (b.t - a.t)], ['done', 'two', (a, b) => (b.done - a.done) / (b.t - a.t)]], show: number },
  { title: 'Pending rows', lines: [['pending', 'one', (a, b) => b.pending]], show: number },
  { title: 'Time per batch', lines: [['mean', 'one', (a, b) => b.batches > a.batches ? (b.busy - a.busy) / (b.batches - a.batches) : null]], show: seconds },
  { title: 'Age of the oldest row', lines: [['age', 'one', (a, b) => b.age]], show: seconds },
];
function svg(name, attributes) {
  const e = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const k in attributes) e.setAttribute(k, attributes[k]);
  return e;
}
function makeCharts() {
  for (const c of charts) {
    const s = element('section');
    s.append(element('h2', c.title));
    c.legend = element('p');
    c.svg = svg('svg', { viewBox: '0 0 400 120', preserveAspectRatio: 'none', role: 'img' });
    s.append(c.svg, c.legend);
    $('charts').append(s);
  }
}
function nice(max) {
  const p = 10 ** Math.floor(Math.log10(max));
  return [1, 2, 5, 10].map(m => m * p).find(v => v >= max);
}
function draw(c) {
  const end = samples.length ? samples[samples.length - 1].t : 0;
  const lines = c.lines.map(([name, css, value]) => {
    const points = [];
    for (let i = 1; i < samples.length; i++) {
      const v = value(samples[i - 1], samples[i]);
      if (v !== null) points.push([400 - (end - samples[i].t) / span * 400, v]);
    }
    return { name, css, points };
  });
  let max = 0;
  for (const l of lines) for (const p of l.points) max = Math.max(max, p[1]);
  max = max > 0 ? nice(max) : 1;
  const y = v => 112 - v / max * 100;
  c.svg.replaceChildren();
  for (const part of [0, 0.5, 1]) c.svg.append(svg('line', { class: 'axis', x1: 0, x2: 400, y1: y(max * part), y2: y(max * part) }));
  const legend = [];
  for (const l of lines) {
    const d = l.points.map(([px, v], i) => (i ? 'L' : 'M') + px.toFixed(1) + ' ' + y(v).toFixed(1)).join('');
    if (d && lines.length === 1) c.svg.append(svg('path', { class: 'area', d: d + 'L' + l.points[l.points.length - 1][0].toFixed(1) + ' 112L' + l.points[0][0].toFixed(1) + ' 112Z' }));
    if (d) c.svg.append(svg('path', { class: l.css, d, 'vector-effect': 'non-scaling-stroke' }));
    const last = l.points.length ? c.show(l.points[l.points.length - 1][1]) : '–';
    legend.push(element('span', l.name + ' ' + last, l.css));
  }
  legend.push(element('span', 'top line ' + c.show(max) + ', ' + seconds(span), 'soft'));
  c.legend.replaceChildren(...legend);
  c.svg.setAttribute('aria-label', c.title + ' over the last ' + seconds(span) + ', now: ' + legend.slice(0, -1).map(e => e.textContent).join(', '));
}

function show(r) {
  const s = r.status, now = Date.parse(r.now);
  document.title = (s.failed ? '(' + s.failed + ') ' : '') + s.state + ' · ' + r.title;
  text('title', r.title);
  text('state', s.state);
  $('state').className = 'state ' + s.state;
  text('since', 'for ' + seconds(Math.max(0, now - Date.parse(s.since)) / 1e3));
  text('cause', [s.last_error, s.disk_error && 'Disk: ' + s.disk_error].filter(Boolean).join('\n'));
  text('pending', number(s.pending));
  const estimate = s.near_full ? (s.full_seconds < 0 ? ', nearly full' : ', full in ' + seconds(s.full_seconds)) : s.pending && s.drain_seconds > 1 ? ', gone in ' + seconds(s.drain_seconds) : '';
  text('limit', 'of ' + number(s.max_rows) + ', ' + bytes(s.pending_bytes) + estimate);
  $('usage').value = s.usage;
  text('synced', number(s.synced));
  text('progress', s.progress.toFixed(s.progress < 100 ? 1 : 0) + ' % of ' + number(s.total + s.recovered) + ' rows');
  text('failedcount', number(s.failed));
  $('failedtile').className = s.failed ? 'bad' : '';
  text('other', number(s.superseded + s.skipped + s.discarded + s.lost + s.deleted));
  text('others', ['superseded', 'skipped', 'discarded', 'lost', 'deleted'].filter(k => s[k]).map(k => k + ' ' + number(s[k])).join(', '));
  text('lastsync', s.last_sync ? seconds(Math.max(0, now - Date.parse(s.last_sync)) / 1e3) : 'never');
  text('lastsyncat', s.last_sync ? 'ago, at ' + clock(s.last_sync) : '');
  text('memory', bytes(s.memory_bytes));
  text('waits', s.waits ? number(s.waits) + ' waits of Add, ' + seconds(s.wait_seconds) : 'Add never waited');
  list('disk', [
    ['Checkpoints made', number(s.checkpoints)], ['Last checkpoint', clock(s.last_checkpoint)], ['Its size', bytes(s.checkpoint_bytes)],
    ['It took', seconds(s.checkpoint_seconds)], ['Journal', bytes(s.journal_bytes) + ' in ' + number(s.journal_files) + ' files'], ['Journal fsyncs', number(s.journal_fsyncs)],
    ...(s.spilled_rows === undefined ? [] : [['Rows on disk only', number(s.spilled_rows)]]),
    ['Recovered rows', number(s.recovered)], ['Disk', s.disk_error ? 'failing' : 'no complaint'],
  ]);
  list('work', [
    ['Batches', number(s.batches) + ', ' + number(s.direct_batches) + ' direct' + (s.pass_batches ? ', ' + number(s.pass_batches) + ' told apart' : '')], ['Round trips', number(s.round_trips)], ['Retries', number(s.retries)],
    ['Written', bytes(s.synced_bytes)], ['Waiting for a connection', seconds(s.times.connecting)], ['Sending', seconds(s.times.sending)], ['Waiting for the server', seconds(s.times.server)], ['Acknowledging', seconds(s.times.acknowledging)], ['Time in sync runs', seconds(s.sync_seconds)], ['Up', seconds(s.uptime_seconds)], ['Panics survived', number(s.panics)],
    ...Object.entries(s.refusals).map(([k, n]) => [k ? 'Refused with class ' + k : 'Refused without SQLSTATE', number(n)]),
    ...Object.entries(s.runs).map(([k, n]) => ['Runs: ' + k, number(n)]),
  ]);
  list('settings', r.settings.map(p => [p.name, p.value]));
  runs(r.runs);
  for (const p of r.samples) if (!samples.length || p.t > samples[samples.length - 1].t) samples.push(p);
  const age = () => samples[samples.length - 1].t - samples[0].t;
  while (samples.length > 1 && age() > most) samples.shift();
  span = samples.length > 1 ? Math.max(60, age()) : 60;
  charts.forEach(draw);
  $('retry').hidden = $('discard').hidden = !r.actions;
  seen = s.failed;
  $('retry').disabled = $('discard').disabled = working || !seen;
  if (s.failed !== listed.count || s.retries !== listed.retries) failed(s.failed, s.retries);
}
let shownRuns = '';
function runs(all) {
  all = all.slice(0, 15);
  const now = JSON.stringify(all);
  if (now === shownRuns) return;
  shownRuns = now;
  $('runs').replaceChildren(...(all.length ? all : [null]).map(e => {
    const tr = element('tr');
    if (!e) { tr.append(element('td', 'none yet', 'soft')); tr.firstChild.colSpan = 8; return tr; }
    tr.append(element('td', clock(e.ended), 't'), element('td', e.reason), ...[e.synced, e.superseded, e.failed, e.batches].map(n => element('td', number(n), 'n')), element('td', seconds(e.seconds), 'n'), element('td', e.error || '', 'text'));
    return tr;
  }));
}

// Failed rows. Their values are fetched only when asked for.
let values = false, working = false, seen = 0;
const listed = { count: -1, retries: -1 };
// What the last action was answered with, until the number of failed rows changes.
let said = { text: '', count: -1 };
// brief leaves out what a row does not say.
function brief(row) {
  let v;
  try { v = JSON.parse(row); } catch { return row; }
  if (v === null || typeof v !== 'object') return row;
  return Object.entries(v).filter(([, x]) => x !== null && x !== '' && x !== false && x !== '0001-01-01T00:00:00Z').map(([k, x]) => k + ': ' + (typeof x === 'string' ? x : JSON.stringify(x))).join(', ');
}
async function failed(count, retries) {
  listed.count = count; listed.retries = retries;
  if (said.count < 0) said.count = count;
  if (said.count !== count) said.text = '';
  if (!count) {
    $('failedtable').hidden = true; $('values').hidden = true;
    text('failednote', said.text || 'The database has rejected no row that is kept.');
    return;
  }
  let r;
  try {
    r = await (await fetch('failed.json' + (values ? '?values=1' : ''))).json();
  } catch (e) { listed.count = -1; return; } // the next tick says so and tries again
  $('values').hidden = false;
  $('failedtable').hidden = !r.rows.length;
  text('failednote', r.error || said.text || (count > r.rows.length ? 'The first ' + number(r.rows.length) + ' of ' + number(count) + '.' : ''));
  $('failedrows').replaceChildren(...r.rows.map(f => {
    const tr = element('tr');
    const what = values ? f.key + '\n' + f.error + '\n' + brief(f.row) : 'hidden';
    tr.append(element('td', f.sqlstate || '–'), element('td', f.column || ''), element('td', f.constraint || ''), element('td', f.attempts, 'n'), element('td', clock(f.last), 't'), element('td', what, values ? 'text' : 'soft'));
    return tr;
  }));
}
$('values').addEventListener('click', () => {
  values = !values;
  $('values').setAttribute('aria-pressed', values);
  text('values', values ? 'Hide values' : 'Show values');
  listed.count = -1;
  tick();
});
async function act(what, count) {
  working = true;
  $('retry').disabled = $('discard').disabled = true;
  let answer;
  try {
    answer = (await (await fetch(what + '?count=' + count, { method: 'POST' })).text()).trim();
  } catch (e) { answer = 'No answer: ' + e.message; }
  working = false;
  said = { text: answer, count: -1 };
  listed.count = -1;
  await tick();
}
let asked = 0; // what the question was about
$('retry').addEventListener('click', () => act('retry', seen));
$('discard').addEventListener('click', () => {
  asked = seen;
  text('confirmtext', number(asked) + ' failed rows are given up for good. They are counted as discarded and are in no database.');
  $('confirm').showModal();
});
$('keep').addEventListener('click', () => $('confirm').close());
$('really').addEventListener('click', () => { $('confirm').close(); act('discard', asked); });

async function tick() {
  const since = samples.length ? samples[samples.length - 1].t : 0;
  let status;
  try {
    status = await (await fetch('status.json?since=' + since)).json();
  } catch (e) {
    text('state', 'no answer');
    $('state').className = 'state gone';
    text('cause', 'The program does not answer; the figures are the last ones seen.');
    return;
  }
  show(status);
}
makeCharts();
(async () => { for (;;) { if (!document.hidden) await tick(); await new Promise(r => setTimeout(r, 1000)); } })();
