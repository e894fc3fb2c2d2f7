// Runs in node: loads a folder by the expression that onnxfix printed with transformers.js, which takes onnxruntime-node
// there, and its graph once more in onnxruntime-web's WebAssembly, which is what a browser has.
// Arguments: the folder of the libraries. Standard input: jobs as JSON. Standard output: a line of JSON for each.
import fs from 'fs';
import path from 'path';
import { createRequire } from 'module';
import { pathToFileURL } from 'url';

const modules = process.argv[2];
const version = (name) => JSON.parse(fs.readFileSync(path.join(modules, name, 'package.json'))).version;
const entry = path.join(modules, '@huggingface/transformers/dist/transformers.node.mjs');
const { AutoModel, env, pipeline, Tensor } = await import(pathToFileURL(entry));
const web = createRequire(modules + '/')('onnxruntime-web');
web.env.wasm.numThreads = 1;
env.allowRemoteModels = false;
env.localModelPath = '/';
const NEW_TOKENS = 12;
const flat = (data) => Array.from(data, Number);

function ids(rows) {
  return [BigInt64Array.from(rows.flat().map(BigInt)), [rows.length, rows[0].length]];
}

// The expression as printed: folders are local there by their whole path.
async function loaded(expression) {
  const run = new Function('pipeline', 'AutoModel', `return (async () => ${expression})()`);
  const found = await run(pipeline, AutoModel);
  return { model: found.model ?? found, tokenizer: found.tokenizer };
}

async function inNode(job) {
  const { model, tokenizer } = await loaded(job.load);
  const wanted = job.expected;
  if (tokenizer) {
    const read = tokenizer(job.texts, { padding: true });
    if (String(flat(read.input_ids.data)) !== String(wanted.input_ids.flat())) throw new Error('tokens differ');
  }
  const inputs = {};
  for (const name of ['input_ids', 'attention_mask']) inputs[name] = new Tensor('int64', ...ids(wanted[name]));
  const found = { numbers: flat((await model(inputs))[wanted.output].data) };
  if (wanted.generated) {
    const made = await model.generate({ ...inputs, max_new_tokens: NEW_TOKENS, do_sample: false });
    found.generated = made.tolist().map((row) => row.map(Number));
  }
  return { ...found, by: `transformers.js ${version('@huggingface/transformers')}` };
}

async function inWeb(job) {
  const options = { executionProviders: ['wasm'] };
  const session = await web.InferenceSession.create(fs.readFileSync(job.graph), options);
  const wanted = job.expected;
  const [mask, shape] = ids(wanted.attention_mask);
  const feeds = {};
  for (const each of session.inputMetadata) {
    if (each.name.startsWith('past')) {
      const [, heads, , size] = each.shape;
      feeds[each.name] = new web.Tensor('float32', new Float32Array(0), [shape[0], Number(heads), 0, Number(size)]);
    } else if (each.name === 'position_ids') {
      feeds[each.name] = new web.Tensor('int64', mask.map((_, i) => BigInt(i % shape[1])), shape);
    } else if (each.name === 'token_type_ids') {
      feeds[each.name] = new web.Tensor('int64', new BigInt64Array(mask.length), shape);
    } else {
      feeds[each.name] = new web.Tensor('int64', ...ids(wanted[each.name]));
    }
  }
  const found = await session.run(feeds);
  return { numbers: flat(found[wanted.output].data), by: `onnxruntime-web ${version('onnxruntime-web').split('-')[0]}` };
}

const jobs = JSON.parse(fs.readFileSync(0));
for (const job of jobs) {
  for (const run of [inNode, inWeb]) {
    let found;
    try {
      found = await run(job);
    } catch (error) {
      found = { error: String(error?.message ?? error).slice(0, 200), by: run.name };
    }
    process.stdout.write(`RESULT ${JSON.stringify(found)}\n`);
  }
}
