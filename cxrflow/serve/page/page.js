// The page: files in, answers and maps out. Plain functions around one state; names of files never leave the browser.
const $ = (id) => document.getElementById(id);
const state = { token: sessionStorage.getItem("token"), limits: null, runs: [], items: [], shown: null, abort: null };

class Problem extends Error {}

async function api(path, options = {}) {
  const possible = /^[\x21-\x7e]+$/.test(state.token ?? ""); // a header takes no other letters, and no token has them
  const headers = possible ? { Authorization: `Bearer ${state.token}` } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer. Is it still running?");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  if (response.status === 401) askForToken();
  throw new Problem(body?.error ?? `The server answered ${response.status}.`);
}

function askForToken() {
  $("access").hidden = false;
  $("ask").hidden = true;
  $("token").focus();
}

function say(sentence) { $("status").textContent = sentence; }

function complain(sentence) {
  $("problem").textContent = sentence ?? "";
  $("problem").hidden = !sentence;
}

// ---- choices ----

const run = () => state.runs.find((one) => one.name === $("run").value);
const point = () => run().operating_points.find((one) => one.name === $("point").value);

function fillSelect(id, values) {
  const before = $(id).value;
  $(id).replaceChildren(...values.map((value) => new Option(value, value)));
  if (values.includes(before)) $(id).value = before;
}

async function open() {
  const served = await (await api("/api/runs")).json();
  state.limits = served;
  state.runs = served.runs;
  $("access").hidden = true;
  $("ask").hidden = false;
  fillSelect("run", state.runs.map((one) => one.name));
  await chooseRun();
}

async function chooseRun() {
  const chosen = run();
  fillSelect("device", chosen.devices);
  fillSelect("point", chosen.operating_points.map((one) => one.name));
  const several = "outputs" in chosen;
  const values = chosen.values; // null: it is fed pictures
  for (const one of document.querySelectorAll(".of-pictures")) one.hidden = Boolean(values);
  $("drop-what").textContent = `Drop ${values ? "files of values" : "X-rays"} here, or choose files`;
  $("hint").textContent = values
    ? `${values.expected}. A file has up to ${integer(values.inputs)} inputs, as ${values.formats}`
    : `JPEG, PNG or DICOM, up to ${Math.floor(state.limits.file_bytes / 2 ** 20)} MiB each`;
  $("files").accept = values ? ".npz,.npy,.json,.csv,.tsv,.txt" : ".jpg,.jpeg,.png,.dcm,image/jpeg,image/png,application/dicom";
  $("many-title").textContent = values ? "All inputs" : "All images";
  $("target-choice").hidden = !several || Boolean(values);
  $("target").replaceChildren(new Option("the answer", ""), ...chosen.class_names.map((name) => new Option(name, name)));
  $("head-share").textContent = chosen.imported ? "Result" : "Probability";
  $("head-integer").textContent = values ? "Integers" : several ? "Integer" : "Logit";
  $("examples").setAttribute("aria-label", several ? "Examples" : "Examples, from the lowest logit to the highest");
  $("about").textContent = [chosen.network, chosen.data && `${chosen.imported ? "imported from" : "trained on"} ${chosen.data}`].filter(Boolean).join(", ");
  $("examples").replaceChildren();
  for (let number = 0; number < chosen.examples; number++) {
    const query = new URLSearchParams({ run: chosen.name, number });
    const blob = await (await api(`/api/example?${query}`)).blob();
    if (run() !== chosen) return;
    const picture = new Image();
    picture.src = URL.createObjectURL(blob);
    picture.alt = `Example ${number + 1}`;
    const button = document.createElement("button");
    button.type = "button";
    button.append(picture);
    button.addEventListener("click", () => take([new File([blob], `example-${number + 1}.png`, { type: "image/png" })]));
    $("examples").append(button);
  }
}

// ---- one image ----

function take(files) {
  if (!files.length) return;
  complain();
  state.abort?.abort();
  state.abort = new AbortController();
  const work = run().values ? computeAll(files) : files.length === 1 ? explain(files[0]) : predictAll(files);
  work.catch((error) => {
    if (error.name === "AbortError") return;
    say("");
    const sentence = error instanceof Problem ? error.message : `This page failed: ${error.message}`;
    complain(files.length === 1 ? `${files[0].name}: ${sentence}` : sentence);
    if (files.length === 1) $("result").hidden = true;
  });
}

function send(path, files, more = {}) {
  const form = new FormData();
  // Their names stay here: the server has no use for them.
  const typed = (file) => (run().values ? new Blob([file]) : file); // what values are in, their first bytes say
  files.forEach((file, index) => form.append("files", typed(file), `${index}`));
  const chosen = "outputs" in run() ? { point: $("point").value } : {}; // of one logit, the page knows the thresholds
  const query = new URLSearchParams({ run: run().name, device: $("device").value, ...chosen, ...more });
  return api(`${path}?${query}`, { method: "POST", body: form, signal: state.abort.signal }).then((answer) => answer.json());
}

function requireSize(file) {
  if (file.size > state.limits.file_bytes) {
    throw new Problem(`The file is larger than ${Math.floor(state.limits.file_bytes / 2 ** 20)} MiB.`);
  }
}

async function explain(file) {
  const start = performance.now();
  if (!state.items.some((item) => item.file === file)) clearMany();
  requireSize(file);
  say(`Reading ${file.name} …`);
  const target = "outputs" in run() && $("target").value !== "" ? { target: $("target").value } : {};
  const answer = await send("/api/explain", [file], { fill: $("fill").value, ...target });
  $("preview").src = answer.preview;
  $("overlay").src = answer.overlay;
  await Promise.all([$("preview").decode(), $("overlay").decode()]);
  state.shown = { file, answer, ms: 0 };
  show();
  await new Promise((done) => requestAnimationFrame(done));
  state.shown.ms = performance.now() - start;
  show();
  const { result } = answer;
  const chance = result.results ? "" : `, probability ${share(result)}`;
  say(`${file.name}: ${className(result)}${chance}.${unlike(result) ? ` ${unlike(result)}` : ""}`);
}

const several = (result) => "outputs" in result;
const className = (result) =>
  several(result) ? result.class_name : run().class_names[result.logit > point().threshold ? 1 : 0];
// What the answer's class has: a probability, or of an imported network what its file gives.
const share = (result) => {
  if (!several(result)) return percent(result.probability);
  return result.results ? real(result.results[result.label] ?? result.results[0]) : percent(result.probabilities[result.label]);
};
const integers = ({ outputs, logit }) => { // some of them
  const all = outputs ?? [logit];
  return [...all.slice(0, SHOWN).map(integer), ...(all.length > SHOWN ? ["…"] : [])].join("  ");
};
const logit = (result) => (several(result) ? result.outputs[result.label] ?? result.outputs[0] : result.logit);
const unlike = (result) =>
  result.unlike
    ? `It is unlike the training images (${result.unlikeness.toPrecision(3)} times the limit): the answer may mean nothing.`
    : "";
const real = (value) => value?.toPrecision(4).replace("-", "\u2212") ?? "not finite";
const percent = (value) => (value > 0.999 ? "> 99.9 %" : value < 0.001 ? "< 0.1 %" : `${(100 * value).toFixed(1)} %`);
const ms = (value) => `${value < 10 ? value.toFixed(2) : value.toFixed(0)} ms`;
const integer = (value) => value.toLocaleString("en-US").replace("-", "\u2212");

function show() {
  const { file, answer, ms: total } = state.shown;
  const { result } = answer;
  const positive = run().class_names[answer.target ?? 1];
  $("result-title").textContent = file.name;
  $("preview").alt = `The X-ray ${file.name}`;
  $("overlay").alt = `Map over it: orange speaks for ${positive}, blue against it`;
  $("for-name").textContent = `speaks for ${positive}`;
  $("class").textContent = className(result);
  const where = result.results ? "is what the imported network gives" : `is the network's answer at the operating point ${point().name}`;
  $("verdict-note").textContent = `${where}, not a diagnosis`;
  $("unlike").textContent = unlike(result);
  $("unlike").hidden = !unlike(result);
  $("bar").parentElement.hidden = Boolean(result.results);
  $("bar").style.width = `${100 * (result.probability ?? result.probabilities?.[result.label])}%`;
  $("tick").hidden = several(result);
  $("tick").style.left = `${100 * point().probability}%`;
  const cycles = answer.cycles === null ? "no hardware in this run" : `${integer(answer.cycles)} (${answer.cycles_are})`;
  const values = [
    ...(several(result) ? classValues(result) : [
      [`Probability of ${positive}, calibrated`, percent(result.probability)],
      ["Integer logit", integer(result.logit)],
      [`${positive} above, ${point().name}`, `${integer(point().threshold)} (${percent(point().probability)})`],
    ]),
    ["Preprocessing", ms(result.preprocess_ms)],
    [`On ${answer.device}, ${answer.images} images for the map`, ms(result.device_ms)],
    ["Accelerator cycles for them", cycles],
    ["From choosing to shown", total ? ms(total) : ""],
    ["Image", `${result.width} × ${result.height} pixels`],
  ];
  $("values").replaceChildren(...values.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  $("result").hidden = false;
  $("result").dataset.shown = `${Number($("result").dataset.shown ?? 0) + 1}`;
  $("result").dataset.ms = total.toFixed(1);
}

const SHOWN = 10; // classes of an answer, and
const LINES = 1000; // of a table; the one for download has all

// A row for each class, the most probable first: its probability, or its file's result, and its integer.
function classValues({ outputs, probabilities, results }) {
  const values = probabilities ?? (results.length === outputs.length ? results : null); // a file may give the class alone
  const order = [...outputs.keys()].sort((a, b) => (values ? values[b] - values[a] : 0)).slice(0, SHOWN);
  const name = (k) => (outputs.length > 1 ? run().class_names[k] : "the one output");
  const rows = order.map((k) => {
    if (!values) return [`Integer of ${name(k)}`, integer(outputs[k])];
    if (!probabilities) return [`Result of ${name(k)}; integer`, `${real(values[k])}; ${integer(outputs[k])}`];
    return [`Probability of ${name(k)}; integer`, `${percent(values[k])}; ${integer(outputs[k])}`];
  });
  return outputs.length > SHOWN ? [...rows, ["More classes", `${outputs.length - SHOWN}, in the table of several images`]] : rows;
}

function element(kind, text, css = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  made.className = css;
  return made;
}

function setStrength() {
  $("overlay").style.opacity = $("strength").value / 100;
  $("strength-value").textContent = `${$("strength").value} %`;
}

// ---- many images ----

function clearMany() {
  state.items = [];
  $("many").hidden = true;
}

function batches(items) {
  const groups = [];
  let size = Infinity;
  for (const item of items) {
    const more = item.file.size + 1024;
    if (size + more > state.limits.request_bytes / 2 || groups.at(-1).length === state.limits.files) {
      groups.push([]);
      size = 0;
    }
    groups.at(-1).push(item);
    size += more;
  }
  return groups;
}

// A line for each input of each file. What is wrong with one of several files stands in its line.
async function computeAll(files) {
  clearMany();
  for (const file of files) {
    try {
      requireSize(file);
      say(`Reading ${file.name} …`);
      const { results } = await send("/api/predict", [file]);
      state.items.push(...results.map((result) => ({ file, name: `${file.name}[${result.index}]`, result, error: "" })));
    } catch (error) {
      if (!(error instanceof Problem) || files.length === 1) throw error;
      state.items.push({ file, name: file.name, result: null, error: error.message });
    }
    $("many").hidden = false;
    showMany();
  }
  const answered = state.items.filter((item) => item.result).length;
  say(`${answered} input${answered === 1 ? "" : "s"} answered.`);
}

async function predictAll(files) {
  state.items = [...files].map((file) => ({ file, name: file.name, result: null, error: "" }));
  $("result").hidden = true;
  state.shown = null;
  $("many").hidden = false;
  let done = 0;
  for (const group of batches(state.items)) {
    await predictGroup(group);
    done += group.length;
    say(`${done} of ${files.length} images answered.`);
    showMany();
  }
}

async function predictGroup(group) {
  try {
    group.forEach((item) => requireSize(item.file));
    const answer = await send("/api/predict", group.map((item) => item.file));
    for (const result of answer.results) {
      if (result.error) group[result.index].error = result.error;
      else group[result.index].result = result;
    }
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (group.length === 1) group[0].error = error.message;
    else for (const item of group) await predictGroup([item]); // so that each gets its own answer
  }
}

function showMany() {
  $("rows").replaceChildren(...state.items.slice(0, LINES).map(row));
  const failed = state.items.filter((item) => item.error).length;
  const answered = state.items.filter((item) => item.result).map((item) => className(item.result));
  const asked = "outputs" in run() ? run().class_names.filter((name) => answered.includes(name)).slice(0, SHOWN) : [run().class_names[1]];
  const counts = asked.map((name) => `${answered.filter((one) => one === name).length} ${name}`);
  const strange = state.items.filter((item) => item.result && unlike(item.result)).length;
  $("counts").textContent = [`${run().values ? `${answered.length} inputs` : `${state.items.length} images`}: ${counts.join(", ")}`, strange ? `${strange} unlike the training images` : "", failed ? `${failed} could not be used` : "", state.items.length > LINES ? `the first ${integer(LINES)} shown` : ""].filter(Boolean).join(", ");
}

function row(item) {
  const line = document.createElement("tr");
  line.append(element("td", item.name));
  if (item.error) {
    const cell = element("td", item.error, "failed");
    cell.colSpan = 6;
    line.append(cell);
  } else if (item.result) {
    const { result } = item;
    const button = element("button", "Show");
    button.type = "button";
    button.setAttribute("aria-label", `Show the map of ${item.file.name}`);
    button.addEventListener("click", async () => {
      take([item.file]);
      $("result").scrollIntoView({ block: "start" });
    });
    const last = document.createElement("td");
    last.append(button);
    const { values } = run();
    line.append(
      element("td", className(result) + (unlike(result) ? " (unlike the training images)" : "")),
      element("td", share(result), "number"),
      element("td", values ? integers(result) : integer(logit(result)), "number"),
      element("td", ms(result.preprocess_ms), "number time"),
      element("td", ms(result.device_ms), "number time"),
      ...(values ? [] : [last]),
    );
  }
  return line;
}

// Whether a spreadsheet might execute a cell of this text: the rule of is_formula in contract/table.py, which says why.
export function isFormula(text) {
  return /^[\p{C}\p{Z}\p{M}\u115f\u1160\u2800]*[=+\-\u2212@|%]/u.test(text.normalize("NFKD")) || /^[\t\r\n]/.test(text);
}

// 1 or 0, as in the table of `infer`; nothing of a network that cannot say.
const marked = (result) => (typeof result?.unlikeness === "number" ? Number(result.unlike) : "");

function csv() {
  const quote = (value) => `"${typeof value === "string" && isFormula(value) ? "'" : ""}${`${value}`.replaceAll('"', '""')}"`;
  if ("outputs" in run()) return classesCsv(quote);
  const head = ["file", "run", "device", "class", "probability", "logit", "operating_point", "threshold", "preprocess_ms", "device_ms", "unlike", "unlikeness", "error", "note"];
  const lines = state.items.map(({ name, result, error }) => [
    name, run().name, $("device").value, result ? className(result) : "", result?.probability ?? "", result?.logit ?? "",
    point().name, point().threshold, result?.preprocess_ms ?? "", result?.device_ms ?? "", marked(result), result?.unlikeness ?? "", error, $("note").textContent.trim(),
  ]);
  return [head, ...lines].map((line) => line.map(quote).join(",")).join("\r\n") + "\r\n";
}

function classesCsv(quote) {
  const { class_names: names, imported, outputs, values } = run();
  const numbers = [...Array(outputs).keys()];
  const found = state.items.find(({ result }) => result)?.result;
  const shares = [...Array((found?.results ?? found?.probabilities ?? []).length).keys()];
  const known = (cells) => (values ? [] : cells); // nobody knows what values are like that it was trained on
  const head = [
    "file", "run", "device", "class", ...shares.map((k) => (imported ? `result_${k}` : `probability_${names[k]}`)),
    ...numbers.map((k) => `output_${imported ? k : names[k]}`), "operating_point", "preprocess_ms", "device_ms", ...known(["unlike", "unlikeness"]), "error", "note",
  ];
  const lines = state.items.map(({ name, result, error }) => [
    name, run().name, $("device").value, result?.class_name ?? "",
    ...shares.map((k) => (result?.results ?? result?.probabilities)?.[k] ?? ""), ...numbers.map((k) => result?.outputs?.[k] ?? ""),
    point().name, result?.preprocess_ms ?? "", result?.device_ms ?? "", ...known([marked(result), result?.unlikeness ?? ""]), error, $("note").textContent.trim(),
  ]);
  return [head, ...lines].map((line) => line.map(quote).join(",")).join("\r\n") + "\r\n";
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = "cxrflow.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// ---- wiring ----

function forget() {
  state.abort?.abort();
  clearMany();
  $("result").hidden = true;
  state.shown = null;
  complain();
  say("");
}

function again() {
  if (state.items.length) take([...new Set(state.items.map((item) => item.file))]);
  else if (state.shown) take([state.shown.file]);
}

function unescaped(text) { // a program that passed the address on may have escaped it
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const guarded = (work) => work().catch((error) => complain(error.message));

$("files").addEventListener("change", () => {
  take([...$("files").files]);
  $("files").value = ""; // so that the same file can be chosen again
});
for (const kind of ["dragenter", "dragover"]) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  if (!$("ask").hidden) take([...event.dataTransfer.files]);
});
$("run").addEventListener("change", () => guarded(async () => {
  const kind = $("hint").textContent;
  const examples = chooseRun();
  if (kind !== $("hint").textContent) forget(); // its files are no files of this one
  again(); // now, and not when the examples are there: by then the user may have asked for more
  await examples;
}));
$("device").addEventListener("change", again);
$("fill").addEventListener("change", () => { if (state.shown) take([state.shown.file]); });
$("target").addEventListener("change", () => { if (state.shown) take([state.shown.file]); });
$("point").addEventListener("change", () => {
  if ("outputs" in run()) return again();
  if (state.shown) show();
  if (state.items.length) showMany();
});
$("strength").addEventListener("input", setStrength);
$("csv").addEventListener("click", download);
$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = $("token").value.trim();
  sessionStorage.setItem("token", state.token);
  complain();
  guarded(open);
});
if (location.hash.length > 1) {
  state.token = unescaped(location.hash.slice(1));
  sessionStorage.setItem("token", state.token);
  history.replaceState(null, "", location.pathname);
}
setStrength();
guarded(open);
