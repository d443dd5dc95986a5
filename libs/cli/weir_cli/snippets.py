"""How to call the stack, ready to paste."""

import json

CURL = """curl -N {url}/v1/{path} \\
  -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
  -d '{body}'"""

PYTHON_CHAT = """from openai import OpenAI

client = OpenAI(base_url="{url}/v1", api_key="{key}")
messages = [{{"role": "user", "content": "{prompt}"}}]
stream = client.chat.completions.create(
    model="{model}", messages=messages, temperature=0.7, stream=True
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)"""

PYTHON_TEXT = """from openai import OpenAI

client = OpenAI(base_url="{url}/v1", api_key="{key}")
stream = client.completions.create(
    model="{model}", prompt="{prompt}", temperature=0.7, stream=True
)
for chunk in stream:
    print(chunk.choices[0].text, end="", flush=True)"""


def curl(url: str, key: str, model: str, prompt: str, *, chat: bool) -> str:
    """A streamed request by curl."""
    asked: dict[str, object] = (
        {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
    )
    body = json.dumps({"model": model, "stream": True, "temperature": 0.7, **asked})
    path = "chat/completions" if chat else "completions"
    return CURL.format(url=url, path=path, key=key, body=body)


def python(url: str, key: str, model: str, prompt: str, *, chat: bool) -> str:
    """A streamed request by the `openai` package."""
    template = PYTHON_CHAT if chat else PYTHON_TEXT
    return template.format(url=url, key=key, model=model, prompt=prompt)
