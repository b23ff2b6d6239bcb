"""A chat with a server of Sterna, which prints answers while they are generated.

    pip install openai
    sterna serve bitnet-2b           # in another terminal; without a name: the embedded model, which tells stories
    python examples/client.py

Ctrl-D ends.
"""

import argparse

from openai import OpenAI


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1", help="the server's address")
    parser.add_argument("--key", default="none", help="a key, if the server wants one")
    parser.add_argument("--model", help="a name; default: the first that the server lists")
    parser.add_argument("--max-tokens", type=int, default=500, help="the most tokens of an answer")
    arguments = parser.parse_args()

    client = OpenAI(base_url=arguments.url, api_key=arguments.key)
    model = arguments.model or client.models.list().data[0].id
    messages = []
    while True:
        try:
            messages.append({"role": "user", "content": input(">>> ")})
        except EOFError:
            return
        answer = ""
        for chunk in client.chat.completions.create(
            model=model, messages=messages, max_tokens=arguments.max_tokens, temperature=0.7, stream=True
        ):
            piece = chunk.choices[0].delta.content or ""
            print(piece, end="", flush=True)
            answer += piece
        print()
        messages.append({"role": "assistant", "content": answer})


if __name__ == "__main__":
    main()
