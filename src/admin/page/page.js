
"use strict";
const EVERY = 2000, HIDDEN = 30000, LONGEST = 30000, PATIENCE = 8000, WINDOW = 15 * 60;
const WORDS = {
  login_needed: "asked to sign in first: the usual way of docker and others",
  wrong_credentials: "wrong name or password",
  insufficient_scope: "the token was for less: the client gets another one",
  invalid_token: "the token is not good, or no longer",
  denied: "signed in, but no grant allows it",
  read_only: "the repository is read-only",
  throttled: "too many failed logins from there",
  identity_unavailable: "no directory could answer",
  unknown_host: "asked for a host that is none of ours",
  unknown_route: "no path of a registry",
  bad_request: "could not be understood",
  too_slow: "the client sent too slowly",
  too_large: "larger than limits allow",
  buffers_full: "no memory left: limits.buffers",
  busy: "too many logins at a time",
  upstream_failed: "the registry behind did not answer",
  cross_site: "a page of another site had a browser ask",
};
const OUTCOMES = { accepted: "accepted", cached: "from memory", rejected: "rejected", unknown: "unknown name", error: "not answered", overload: "too busy" };
const MARKS = { ok: "✓", failing: "✕", error: "✕", degraded: "!", warning: "!", note: "i" };
const byId = (id) => document.getElementById(id);
let latest = null, heard = 0, failures = 0, timer = 0, process = "", series = null;
const shown = new Map();

/* Elements are made of text alone: nothing that the gate tells is ever read as HTML. */
function el(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}
function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
/* Replaces what a section says only where that changed, so that what somebody reads, selects or hears stays. */
function put(id, what, build) {
  const key = JSON.stringify(what);
  if (shown.get(id) === key) return;
  shown.set(id, key);
  byId(id).replaceChildren(...[build()].flat().filter(Boolean));
}

function count(number) { return Number(number).toLocaleString("en"); }
function rate(number) { return number === 0 ? "0" : number >= 100 ? count(Math.round(number)) : number >= 10 ? number.toFixed(0) : number.toFixed(1); }
function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) { number /= 1024; unit += 1; }
  return (unit === 0 || number >= 100 ? Math.round(number) : number.toFixed(1)) + " " + units[unit];
}
function time(seconds) {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days > 0) return days + " d " + hours + " h";
  if (hours > 0) return hours + " h " + minutes + " min";
  return minutes > 0 ? minutes + " min" : "less than a minute";
}
function plural(number, one, many) { return count(number) + " " + (number === 1 ? one : many); }
function moment(text, form) {
  const at = text ? new Date(text) : null;
  if (!at || Number.isNaN(at.getTime())) return "–";
  return el("time", { datetime: text, title: text }, at.toLocaleString(undefined, form || { dateStyle: "medium", timeStyle: "short" }));
}
function table(columns, rows) {
  const number = (column) => (column.startsWith("#") ? { class: "number" } : {});
  const name = (column) => column.replace("#", "");
  const cells = (row) => row.map((cell, at) => (at === 0
    ? el("th", { scope: "row", role: "rowheader" }, cell)
    : el("td", { role: "cell", "data-column": name(columns[at]), ...number(columns[at]) }, cell)));
  /* The roles stay where a narrow window shows the rows as blocks. */
  return el("table", { role: "table", class: columns.length > 3 ? "wide" : "" },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" },
      columns.map((column) => el("th", { scope: "col", role: "columnheader", ...number(column) }, name(column))))),
    el("tbody", { role: "rowgroup" }, rows.map((row) => el("tr", { role: "row" }, cells(row)))));
}
function card(title, ...children) { return [el("h2", {}, title), el("div", { class: "card" }, ...children)]; }
function state(tone, word) { return el("span", { class: "state " + tone }, MARKS[tone] + " " + word); }
function tag(text, tone) { return el("span", { class: "tag " + (tone || "") }, text); }
function soft(...text) { return el("div", { class: "soft" }, ...text); }

function verdict(now) {
  const words = { ok: "Everything is fine", degraded: "It works, but something needs a look", failing: "Something is broken" };
  const problems = now.problems.filter((problem) => problem.severity !== "note");
  const line = (tone, large, ...inner) => el("div", { class: "verdict " + tone + (large ? " large" : "") },
    el("span", { class: "mark", "aria-hidden": "true" }, MARKS[tone]), el("div", {}, ...inner));
  const first = now.ready ? words[now.health] : "No new clients are wanted here";
  const tone = now.ready ? now.health : (now.health === "ok" ? "note" : now.health);
  return [
    line(tone, true, el("b", {}, first), problems.length > 0 ? ": " + plural(problems.length, "problem", "problems") : ""),
    ...now.problems.map((problem) => line(problem.severity, false,
      el("div", { class: "what" }, el("b", {}, problem.severity[0].toUpperCase() + problem.severity.slice(1) + ": "), problem.what),
      problem.advice && soft(problem.advice))),
  ];
}

function chart(title, unit, format, key, bad) {
  const values = series[key], end = series.at.at(-1) || 0;
  const most = Math.max(...values, 0), top = most > 0 ? most : 1;
  const x = (at) => (300 * (1 - (end - at) / WINDOW)).toFixed(1), y = (value) => (46 - 44 * value / top).toFixed(1);
  const points = values.map((value, at) => x(series.at[at]) + "," + y(value));
  const last = values.at(-1) || 0;
  const label = title + ": " + format(last) + " " + unit + " now, at most " + format(most) + " in the last 15 minutes";
  const lines = [svg("line", { class: "base", x1: 0, x2: 300, y1: 46.5, y2: 46.5 })];
  if (points.length > 1) {
    lines.push(svg("path", { class: "area", d: "M" + x(series.at[0]) + ",46 L" + points.join(" L") + " L300,46 Z" }));
    lines.push(svg("path", { class: "line", d: "M" + points.join(" L") }));
  }
  return el("div", { class: "card chart" + (bad && most > 0 ? " bad" : "") },
    el("h3", {}, title),
    el("div", { class: "now" }, format(last) + " ", el("small", {}, unit)),
    svg("svg", { viewBox: "0 0 300 48", preserveAspectRatio: "none", role: "img", "aria-label": label }, ...lines),
    el("div", { class: "scale" }, el("span", {}, "15 min"), el("span", {}, "max. " + format(most))));
}
function traffic() {
  const perSecond = (number) => bytes(number);
  return [el("h2", {}, "Traffic"), el("div", { class: "charts" },
    chart("Requests", "per second", rate, "requests"),
    chart("Failures", "per second", rate, "failures", true),
    chart("To clients", "per second", perSecond, "bytes_out"),
    chart("From clients", "per second", perSecond, "bytes_in"))];
}

function latency(server) { return server.latency_ms === null || server.latency_ms === undefined ? "–" : server.latency_ms.toLocaleString("en") + " ms"; }
function servers(now) {
  const all = now.registries.flatMap((registry) => registry.servers.map((server) => ({ ...server, registry: registry.name })));
  const slow = all.filter((server) => server.latency_ms > 0).sort((a, b) => b.latency_ms - a.latency_ms).slice(0, 3);
  const one = (registry) => el("div", { class: "registry" },
    el("div", { class: "title" }, el("h3", {}, registry.name),
      registry.read_only === true && tag("read-only", "note"),
      Array.isArray(registry.read_only) && tag("read-only: " + registry.read_only.join(", "), "note"),
      registry.open_writes > 0 && tag(plural(registry.open_writes, "open write", "open writes"))),
    table(["Server", "State", "#Under way", "#Latency", "#Failed tries"], registry.servers.map((server) => [
      [server.url, soft(({ registry: "", route: "route, ", ui: "web UI, ", notary: "Notary, " })[server.for] + server.role), server.error && el("div", { class: "why" }, server.error)],
      server.up ? state("ok", "up") : state("error", "down"),
      count(server.under_way), latency(server), count(server.failures),
    ])));
  const slowest = all.length > 2 && slow.length > 1
    && el("p", { class: "soft" }, "Slowest of late: " + slow.map((server) => server.url + " (" + latency(server) + ")").join(", "));
  return card("Registries", now.registries.map(one), slowest);
}

function certificates(now) {
  const tone = (one) => (one.source === "temporary" ? "error" : { fine: "ok", soon: "warning" }[one.standing] || "error");
  const rows = now.certificates.map((one) => [
    [one.names.join(", "), soft(one.source === "acme" ? "by ACME" : one.source === "temporary" ? "temporary: no client trusts it" : one.file || "from files")],
    [moment(one.not_after, { dateStyle: "medium" })],
    [el("span", { class: "state " + tone(one) }, plural(one.days_left, "day", "days")), one.standing !== "fine" && soft(one.standing)],
  ]);
  const orders = now.acme.map((one) => [
    [one.names.join(", "), one.error && el("div", { class: "why" }, one.error)],
    one.under_way ? "under way" : one.error ? state("warning", "failed") : one.not_after ? state("ok", "issued") : "waits",
    [one.next_attempt ? moment(one.next_attempt) : "once the clock is right"],
  ]);
  return card("Certificates", table(["For", "Ends", "#Left"], rows),
    orders.length > 0 && table(["Orders by ACME", "State", "Next attempt"], orders));
}

function logins(now) {
  const { providers, throttled, throttled_names, throttled_networks } = now.logins;
  if (providers.length === 0 && throttled === 0) return card("Logins", soft("Nobody has signed in since the start."));
  const of = (counts, names) => names.reduce((sum, name) => sum + (counts[name] || 0), 0);
  const good = ["accepted", "cached"], bad = ["rejected", "error", "overload"];
  const detail = (counts) => Object.entries(counts).map(([name, number]) => count(number) + " " + (OUTCOMES[name] || name)).join(", ");
  return card("Logins, last 15 minutes",
    table(["Provider", "#Good", "#Failed"], providers.map((one) => [
      [one.provider === "none" ? "nobody asked" : one.provider, soft("since the start: " + detail(one.outcomes))],
      count(of(one.recent, good)), count(of(one.recent, bad)),
    ])),
    soft(throttled_names + throttled_networks > 0
      ? "Throttled now: " + plural(throttled_names, "name", "names") + ", " + plural(throttled_networks, "network", "networks")
      : "Nobody is throttled now", "; " + plural(throttled, "login", "logins") + " turned away since the start."));
}

function refusals(now) {
  const { refused } = now.traffic;
  if (refused.length === 0) return card("Refusals", soft("Nothing has been refused since the start."));
  return card("Refusals", table(["Reason", "#15 min", "#Since start"], refused.map((one) => [
    [one.reason, WORDS[one.reason] && soft(WORDS[one.reason])], count(one.recent), count(one.total),
  ])));
}

function directories(now) {
  if (now.directories.length === 0) return [];
  return card("Directories", table(["Server", "State"], now.directories.map((one) => [
    [one.server, soft(one.provider), one.error && el("div", { class: "why" }, one.error)],
    one.up ? state("ok", "up") : state("error", "left out"),
  ])));
}

function events(now) {
  if (now.events.length === 0) return [];
  return card("Event endpoints", table(["Endpoint", "State", "#Waiting", "#Delivered", "#Dropped"], now.events.map((one) => [
    [one.endpoint, one.error && el("div", { class: "why" }, one.error)],
    one.failing_since ? state("warning", "failing") : state("ok", "fine"),
    count(one.queued), count(one.delivered), count(one.dropped),
  ])));
}

function about(now) {
  const { configuration, memory } = now, { buffers } = memory;
  const part = Math.min(100, 100 * buffers.used_bytes / Math.max(1, buffers.limit_bytes));
  const bar = el("i", {});
  bar.style.width = part.toFixed(1) + "%";
  const facts = [
    ["Configuration", [configuration.file, soft("fingerprint " + configuration.fingerprint)]],
    ["In force", ["no. " + configuration.generation + ", since ", moment(configuration.in_force_since),
      configuration.error && el("div", { class: "why" }, "A later one cannot be used, since ", moment(configuration.failed_at))]],
    ["Open writes", [count(now.open_writes)]],
    ["Clients", [plural(now.traffic.connections, "connection", "connections") + ", " + plural(now.traffic.under_way, "request", "requests") + " under way"]],
    ["Buffers", [bytes(buffers.used_bytes) + " of " + bytes(buffers.limit_bytes), el("div", { class: "meter" }, bar),
      buffers.waiting > 0 && el("div", { class: "why" }, plural(buffers.waiting, "transfer waits", "transfers wait"))]],
    ["Memory", [memory.resident_bytes === null ? "–" : bytes(memory.resident_bytes)]],
    ["Since the start", [plural(Object.values(now.traffic.answers).reduce((a, b) => a + b, 0), "request", "requests") + ", "
      + bytes(now.traffic.bytes_out) + " out, " + bytes(now.traffic.bytes_in) + " in"]],
    ["Process", ["portcullis " + now.portcullis + ", pid " + now.pid, now.predecessor && soft("after pid " + now.predecessor + ", which still drains")]],
  ];
  return card("Process", el("dl", {}, facts.map(([name, what]) => [el("dt", {}, name), el("dd", {}, ...what)])));
}

function render(now) {
  document.body.classList.remove("old");
  byId("stale").hidden = true;
  put("facts", [now.portcullis, now.started, Math.floor(now.uptime_seconds / 60), now.configuration.generation],
    () => "version " + now.portcullis + " · up " + time(now.uptime_seconds) + " · configuration no. " + now.configuration.generation);
  put("verdict", [now.problems, now.health, now.ready], () => verdict(now));
  put("traffic", [process, series.last], traffic);
  put("registries", [now.registries], () => servers(now));
  put("certificates", [now.certificates, now.acme], () => certificates(now));
  put("logins", [now.logins], () => logins(now));
  put("refusals", [now.traffic.refused], () => refusals(now));
  put("directories", [now.directories], () => directories(now));
  put("events", [now.events], () => events(now));
  put("process", [now.configuration, now.memory, now.traffic, now.open_writes, now.pid, now.predecessor], () => about(now));
  title(MARKS[now.health], now.health);
}
function title(mark, health) {
  const colour = { ok: "#1a8a4a", degraded: "#d08300", failing: "#c8322a", gone: "#7a7f88" }[health];
  const icon = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><circle cx='8' cy='8' r='7' fill='" + colour + "'/>"
    + "\x3c/svg>";
  const link = document.querySelector("link[rel=icon]"), href = "data:image/svg+xml," + encodeURIComponent(icon);
  if (link.getAttribute("href") !== href) link.setAttribute("href", href);
  const text = mark + " " + location.hostname + " – portcullis";
  if (document.title !== text) document.title = text;
}

/* Adds what is new to what is there. */
function remember(history) {
  const keys = ["at", "requests", "failures", "refused", "bytes_in", "bytes_out"];
  const fresh = series === null ? history.at.length : Math.min(history.last - series.last, history.at.length);
  if (series === null) series = { last: 0, ...Object.fromEntries(keys.map((key) => [key, []])) };
  for (const key of keys) {
    if (fresh > 0) series[key] = series[key].concat(history[key].slice(-fresh)).slice(-history.points);
  }
  series.last = Math.max(series.last, history.last);
}

async function ask() {
  clearTimeout(timer);
  const all = series === null || Date.now() - heard > 20000;
  const abort = new AbortController(), late = setTimeout(() => abort.abort(), PATIENCE);
  try {
    const answer = await fetch("?format=json&history=" + (all ? 1000 : 10), { cache: "no-store", signal: abort.signal });
    if (!answer.ok) throw new Error("it answers " + answer.status);
    const now = await answer.json();
    if (latest && latest.portcullis !== now.portcullis) location.reload();
    /* Another process counts anew. */
    if (all || process !== now.pid + now.started) series = null;
    process = now.pid + now.started;
    remember(now.history);
    latest = now;
    heard = Date.now();
    failures = 0;
    render(now);
  } catch (error) {
    failures += 1;
    stale(error);
  } finally {
    clearTimeout(late);
    clearTimeout(timer);
    const pause = failures > 0 ? Math.min(EVERY * 2 ** (failures - 1), LONGEST) : EVERY;
    timer = setTimeout(ask, document.hidden ? Math.max(pause, HIDDEN) : pause);
  }
}
function stale(error) {
  document.body.classList.add("old");
  const why = { AbortError: "no answer within " + PATIENCE / 1000 + " s", TypeError: "no connection" }[error.name] || error.message;
  const from = heard === 0 ? "Nothing has been heard from it yet." : "What is shown is from " + new Date(heard).toLocaleTimeString() + ".";
  const text = "✕ The gate does not answer here (" + why + "). " + from + " This page keeps trying.";
  const place = byId("stale");
  if (place.textContent !== text) place.textContent = text;
  place.hidden = false;
  title("✕", "gone");
  age();
}
function age() {
  const seconds = Math.round((Date.now() - heard) / 1000);
  const text = heard === 0 ? "asking…" : failures === 0 && seconds < 5 ? "live" : "last heard " + (seconds < 60 ? seconds + " s" : time(seconds)) + " ago";
  if (byId("live").textContent !== text) byId("live").textContent = text;
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
setInterval(age, 1000);
age();
ask();
