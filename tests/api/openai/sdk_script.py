"""What a program does with OpenAI's own SDK, in whichever version is on the path.

Run as a script, it takes an address and a token, and prints one JSON object with an
entry for each thing that it tried.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import openai

MODEL = "openai/gpt-test"
TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def whole(client: openai.OpenAI) -> Any:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=said("Hi"), max_tokens=50, stop=["END"], seed=7
    )
    answer = raw.parse()
    return {
        "text": answer.choices[0].message.content,
        "reason": answer.choices[0].finish_reason,
        "usage": [answer.usage.prompt_tokens, answer.usage.completion_tokens],
        "has_id": bool(answer._request_id),
        "cost": raw.headers["x-llmchat-cost"],
        "conversation": len(raw.headers["x-llmchat-conversation-id"]),
    }


def streamed(client: openai.OpenAI) -> Any:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=said("Hi"),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    deltas = [chunk.choices[0] for chunk in chunks if chunk.choices]
    return {
        "text": "".join(one.delta.content or "" for one in deltas),
        "reasons": [one.finish_reason for one in deltas if one.finish_reason],
        "usage": [chunk.usage.total_tokens for chunk in chunks if chunk.usage],
        "cost": chunks[-1].usage.cost,
    }


def tools(client: openai.OpenAI) -> Any:
    asked: dict[str, Any] = {"model": MODEL, "messages": said("tools"), "tools": [TOOL]}
    choice = client.chat.completions.create(**asked).choices[0]
    call = choice.message.tool_calls[0]
    chunks = list(client.chat.completions.create(**asked, stream=True))
    calls = [call for c in chunks for call in c.choices[0].delta.tool_calls or []]
    back = [
        *said("weather?"),
        choice.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    last = client.chat.completions.create(model=MODEL, messages=back, tools=[TOOL])
    return {
        "whole": [choice.finish_reason, call.function.name, call.function.arguments],
        "streamed": [calls[0].function.name, calls[0].function.arguments],
        "reason": chunks[-1].choices[0].finish_reason,
        "last": last.choices[0].message.content,
    }


def cut(client: openai.OpenAI) -> Any:
    stream = client.chat.completions.create(
        model=MODEL, messages=said("cut"), stream=True
    )
    seen: list[Any] = []
    told = failure(lambda: [seen.append(chunk) for chunk in stream])
    ends = [one.choices[0].finish_reason for one in seen]
    texts = [one.choices[0].delta.content for one in seen]
    return {"error": told, "text": "".join(texts), "ends": [end for end in ends if end]}


def closed(client: openai.OpenAI) -> Any:
    stream = client.chat.completions.create(
        model=MODEL, messages=said("wait"), stream=True
    )
    texts = (chunk.choices[0].delta.content for chunk in stream)
    first = next(filter(None, texts))
    stream.close()
    return first


def responded(client: openai.OpenAI) -> Any:
    raw = client.responses.with_raw_response.create(
        model=MODEL, input="Hi", instructions="Be brief"
    )
    first = raw.parse()
    again = client.responses.with_raw_response.create(
        model=MODEL,
        input=[{"role": "user", "content": [{"type": "input_text", "text": "More"}]}],
        previous_response_id=first.id,
    )
    place = "x-llmchat-conversation-id"
    return {
        "text": first.output_text,
        "status": first.status,
        "usage": first.usage.total_tokens,
        "goes_on": again.headers[place] == raw.headers[place],
        "has_id": bool(first._request_id),
    }


def response_events(client: openai.OpenAI) -> Any:
    with client.responses.stream(model=MODEL, input="Hi") as stream:
        events = list(stream)
        final = stream.get_final_response()
    return {
        "types": [event.type for event in events],
        "numbered": [event.sequence_number for event in events]
        == list(range(len(events))),
        "text": final.output[0].content[0].text,
    }


def response_cut(client: openai.OpenAI) -> Any:
    seen: list[str] = []

    def read() -> None:
        stream = client.responses.create(model=MODEL, input="cut", stream=True)
        seen.extend(event.type for event in stream)

    return {"error": failure(read), "last": seen[-1]}


def models(client: openai.OpenAI) -> Any:
    names = [model.id for model in client.models.list()]
    return {
        "names": [name for name in names if name.startswith("openai/")],
        "one": client.models.retrieve("openai").id,
        "none": failure(lambda: client.models.retrieve("nobody/nothing")),
    }


def refused(client: openai.OpenAI) -> Any:
    ask = client.chat.completions.create
    stranger = client.with_options(api_key="nobody")
    return {
        "key": failure(lambda: stranger.models.list()),
        "model": failure(lambda: ask(model="nothing", messages=said("Hi"))),
        "n": failure(lambda: ask(model=MODEL, messages=said("Hi"), n=2)),
        "cut": failure(lambda: ask(model=MODEL, messages=said("cut"))),
    }


def failure(call: Callable[[], Any]) -> list[Any]:
    """Return what the SDK makes of an error."""
    try:
        call()
    except openai.APIError as exc:
        status = getattr(exc, "status_code", None)
        return [type(exc).__name__, status, exc.code, exc.param]
    return []


STEPS = (
    *(models, whole, streamed, tools, refused, cut, closed),
    *(responded, response_events, response_cut),
)


def main() -> None:
    client = openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key=sys.argv[2])
    report = {step.__name__: step(client) for step in STEPS}
    print(json.dumps(report | {"version": openai.__version__}))


if __name__ == "__main__":
    main()
