// Exports.

function kept() {
  if (net.own) {
    const numbers = Object.fromEntries(content.own.parameters.map((name, k) => [name, last.parameters[k]]));
    return { format: "macrograd parameters 1", steps: last.steps, parameters: numbers };
  }
  const { sizes } = net.shape, number = points.names.length === 0;
  const layers = [];
  for (let l = 0; l + 1 < sizes.length; ++l) {
    const rows = [];
    for (let j = 0; j < sizes[l + 1]; ++j) {
      if (!lives(l + 1, j)) continue;
      const from = Array.from({ length: sizes[l] }, (_, i) => i).filter((i) => lives(l, i));
      rows.push([...from, sizes[l]].map((i) => last.parameters[place(l, j, i)]));
    }
    layers.push(rows);
  }
  return {
    format: "macrograd playground 1", activation: net.activation, features: state.features, layers, steps: last.steps,
    scaling: points.scaling, columns: points.axes, target: points.target, classes: points.names,
    unit: number ? points.unit : [0, 1],
  };
}

function asPython() {
  if (net.own) {
    return `# The parameters after ${last.steps} steps in the playground, for the model that the page was made from.
import json

model.load_parameters(json.loads(
    ${JSON.stringify(JSON.stringify(kept().parameters))}
))
`;
  }
  const all = kept(), name = JSON.stringify(JSON.stringify(all));
  return `# A net of macrograd's playground, after ${all.steps} steps. Needs: pip install macrograd
import json

import macrograd as mg

net = mg.from_playground(json.loads(
    ${name}
))
point = [${points.rows[0].slice(0, 2).join(", ")}]
print(net(point))  # ${all.classes.length === 0 ? "the answer" : all.classes.length === 2 ? "above 0: the second class" : "one number for each class, the largest is the answer"}
print(net.answer(point))

# The same as a C file without dependencies:
mg.export(net, "net.c", [0.0, 0.0])
`;
}

// The compiler's C file of the net, with the current numbers.
async function asC() {
  const text = await new Response(await unpacked(net.c)).text(), { names, unit, scaling } = points;
  const numbers = [...last.parameters, ...scaling, ...(names.length ? [1, 0] : [unit[1], unit[0]])];
  const said = names.length > 2 ? `The class is the largest of y[0] to y[${names.length - 1}].`
    : names.length ? "The class is the second where y[0] is above 0." : "y[0] is the answer.";
  const literal = (x) => (/^-?\d+$/.test(String(x)) ? `${x}.0` : String(x));
  return `/* After ${last.steps} steps. ${said} */\n` + text.replace(/@(\d+)@/g, (_, k) => literal(numbers[k]));
}

function show(title, note, text, file) {
  $("text-title").textContent = title;
  $("text-note").textContent = note;
  const area = document.querySelector("#text textarea");
  area.value = text;
  const save = $("text-save");
  URL.revokeObjectURL(save.href);
  save.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  save.download = file;
  save.textContent = `Save as ${file}`;
  $("text-copy").onclick = async () => {
    area.select();
    try { await navigator.clipboard.writeText(text); } catch { document.execCommand("copy"); }
    $("text-copy").textContent = "Copied";
  };
  $("text-copy").textContent = "Copy";
  $("text").showModal();
}
