// What a program does with one version of OpenAI's SDK for Node.
//
// Arguments: the server's URL, a token, the package. Prints one JSON object with an
// entry for each thing that was tried, as tests/api/openai/sdk_script.py does.
const [url, apiKey, packageName] = process.argv.slice(2);
const { OpenAI, APIError } = require(packageName);

const MODEL = 'openai/gpt-test';
const TOOL = { type: 'function', function: { name: 'look', parameters: {} } };
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey });
const chat = client.chat.completions;

const said = (content) => [{ role: 'user', content }];

async function collected(iterable) {
  const all = [];
  for await (const one of iterable) all.push(one);
  return all;
}

async function failure(call) {
  try {
    await call();
    return [];
  } catch (error) {
    if (!(error instanceof APIError)) throw error;
    return [error.constructor.name, error.status ?? null, error.code ?? null, error.param ?? null];
  }
}

async function whole() {
  const asked = { model: MODEL, messages: said('Hi'), max_tokens: 50, stop: ['END'], seed: 7 };
  const { data, response } = await chat.create(asked).withResponse();
  return {
    text: data.choices[0].message.content,
    reason: data.choices[0].finish_reason,
    usage: [data.usage.prompt_tokens, data.usage.completion_tokens],
    has_id: Boolean(data._request_id),
    cost: response.headers.get('x-llmchat-cost'),
    conversation: response.headers.get('x-llmchat-conversation-id').length,
  };
}

async function streamed() {
  const asked = { model: MODEL, messages: said('Hi'), stream: true, stream_options: { include_usage: true } };
  const chunks = await collected(await chat.create(asked));
  const choices = chunks.flatMap((chunk) => chunk.choices);
  return {
    text: choices.map((choice) => choice.delta.content ?? '').join(''),
    reasons: choices.map((choice) => choice.finish_reason).filter(Boolean),
    usage: chunks.filter((chunk) => chunk.usage).map((chunk) => chunk.usage.total_tokens),
    cost: chunks.at(-1).usage.cost,
  };
}

async function tools() {
  const asked = { model: MODEL, messages: said('tools'), tools: [TOOL] };
  const choice = (await chat.create(asked)).choices[0];
  const [call] = choice.message.tool_calls;
  const chunks = await collected(await chat.create({ ...asked, stream: true }));
  const [piece] = chunks.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? []);
  const result = { role: 'tool', tool_call_id: call.id, content: 'sunny' };
  const messages = [...said('weather?'), choice.message, result];
  const last = await chat.create({ model: MODEL, messages, tools: [TOOL] });
  return {
    whole: [choice.finish_reason, call.function.name, call.function.arguments],
    streamed: [piece.function.name, piece.function.arguments],
    reason: chunks.at(-1).choices[0].finish_reason,
    last: last.choices[0].message.content,
  };
}

async function cut() {
  const stream = await chat.create({ model: MODEL, messages: said('cut'), stream: true });
  const seen = [];
  const error = await failure(async () => {
    for await (const chunk of stream) seen.push(chunk.choices[0]);
  });
  return {
    error,
    text: seen.map((choice) => choice.delta.content).join(''),
    ends: seen.map((choice) => choice.finish_reason).filter(Boolean),
  };
}

async function closed() {
  const stream = await chat.create({ model: MODEL, messages: said('wait'), stream: true });
  for await (const chunk of stream) {
    // Leaving the loop closes the connection.
    if (chunk.choices[0].delta.content) return chunk.choices[0].delta.content;
  }
}

async function responded() {
  const asked = { model: MODEL, input: 'Hi', instructions: 'Be brief' };
  const { data: first, response } = await client.responses.create(asked).withResponse();
  const input = [{ role: 'user', content: [{ type: 'input_text', text: 'More' }] }];
  const more = { model: MODEL, input, previous_response_id: first.id };
  const again = await client.responses.create(more).withResponse();
  const place = (answer) => answer.headers.get('x-llmchat-conversation-id');
  return {
    text: first.output_text,
    status: first.status,
    usage: first.usage.total_tokens,
    goes_on: place(again.response) === place(response),
    has_id: Boolean(first._request_id),
  };
}

async function response_events() {
  const stream = client.responses.stream({ model: MODEL, input: 'Hi' });
  const events = await collected(stream);
  const final = await stream.finalResponse();
  return {
    types: events.map((event) => event.type),
    numbered: events.every((event, index) => event.sequence_number === index),
    text: final.output[0].content[0].text,
  };
}

async function response_cut() {
  const seen = [];
  const error = await failure(async () => {
    const stream = await client.responses.create({ model: MODEL, input: 'cut', stream: true });
    for await (const event of stream) seen.push(event.type);
  });
  return { error, last: seen.at(-1) };
}

async function models() {
  const names = (await collected(await client.models.list())).map((model) => model.id);
  return {
    names: names.filter((name) => name.startsWith('openai/')),
    one: (await client.models.retrieve('openai')).id,
    none: await failure(() => client.models.retrieve('nobody/nothing')),
  };
}

async function refused() {
  const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'nobody' });
  return {
    key: await failure(() => stranger.models.list()),
    model: await failure(() => chat.create({ model: 'nothing', messages: said('Hi') })),
    n: await failure(() => chat.create({ model: MODEL, messages: said('Hi'), n: 2 })),
    cut: await failure(() => chat.create({ model: MODEL, messages: said('cut') })),
  };
}

const STEPS = [models, whole, streamed, tools, refused, cut, closed, responded, response_events, response_cut];

async function main() {
  const report = { version: require(`${packageName}/version`).VERSION };
  for (const step of STEPS) report[step.name] = await step();
  console.log(JSON.stringify(report));
}

main();
