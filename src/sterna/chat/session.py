"""A session: a model, the conversation with it, and how its answers are sampled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sterna.chat.answer import Answer
from sterna.chat.conversation import Conversation
from sterna.engine.generation import Completion
from sterna.engine.llm import LLM
from sterna.engine.sampling import SamplingParams
from sterna.errors import SternaError
from sterna.files.hub.cache import resolve_model
from sterna.model.chat import FALLBACK_STOPS, FALLBACK_TEMPLATE_NAME
from sterna.server.events import Parser
from sterna.server.thinking import TAGS, ThinkingParser, is_open, tags_of

Load = Callable[[str | None], LLM]
"""Loads the model of a name; None is the embedded model."""

ROOM = 4096
"""Tokens that a prompt leaves to the answer, unless a quarter of the context or the answer's limit is less."""

LAST_TOKENS = 8
"""Tokens at the end of a prompt that are looked at for the tag with which a template begins the thoughts."""


class Session:
    """Messages in, answers out.

    `load` loads the model `name`, and others later. Raises what `load` raises, and `FormatError` for a model without a
    tokenizer.
    """

    def __init__(
        self,
        load: Load,
        name: str | None,
        params: SamplingParams,
        system: str | None = None,
        adapters: Mapping[str, float] | None = None,
    ) -> None:
        """`adapters`: scales of the adapters with which it answers, by their names in what `load` loads."""
        self._adapters = dict(adapters or {})
        self._load, self._name, self.llm = load, name, load(name)
        self.llm.tokenizer  # noqa: B018  # raises here what it would raise at the first message
        self.params = params
        self.conversation = Conversation(system)
        self.last: Completion | None = None
        """The tokens and speeds of the last answer."""
        self.context_used = 0
        """Tokens of the conversation, as far as it is sent."""
        self.recount()

    @property
    def model(self) -> str:
        """What the model calls itself, on one line."""
        return " ".join(self.llm.checkpoint.name.split())

    @property
    def context(self) -> int:
        """How many tokens a prompt and its answer can have together."""
        return self.llm.context_length

    @property
    def template_notice(self) -> str | None:
        """A sentence about the template that stands in where the model has none; None where it has one."""
        if self.llm.tokenizer.chat_template is not None:
            return None
        return (
            f"{self.model} has no chat template; the template '{FALLBACK_TEMPLATE_NAME}' is used ('User: ...', "
            "'Assistant: ...'). It was probably never trained to answer, and just continues the text."
        )

    def ask(self, text: str) -> tuple[Answer, int]:
        """Adds a message. Returns the answer, which is generated when it is iterated, and how many of the oldest turns
        had to be left out of the prompt.

        Raises `ContextLengthError` for a message that does not fit into the context, and what the template raises;
        the message is then not added.
        """
        self.conversation.ask(text)
        try:
            encode = self.llm.tokenizer.encode_chat
            prompt, left_out = self.conversation.fit(encode, self.context, self._room())
            answer = Answer(self.llm, prompt, self._sampling(), self._parser(prompt), self._adapters)
            return answer, left_out
        except BaseException:  # Ctrl-C, too
            self.conversation.undo()
            raise

    def keep(self, answer: Answer) -> bool:
        """Adds an answer that has ended to the conversation. One that was stopped before it began is not added, and its
        message is taken back; returns whether it was added."""
        self.last = completion = answer.completion()
        if answer.stopped and not answer.text and not answer.thoughts:
            self.conversation.undo()
            return False
        self.conversation.answer(answer.text, answer.thoughts)
        self.context_used = completion.prompt_tokens + completion.completion_tokens
        if answer.thoughts:  # which most templates leave out of the next prompt
            self.recount()
        return True

    def withdraw(self) -> None:
        """Takes back the last message, whose answer failed."""
        self.conversation.undo()

    def change_model(self, name: str) -> None:
        """Goes on with another model. Where that cannot be loaded the session keeps its own, and this raises what
        loading raised. The two are never in memory together."""
        resolve_model(name)  # a wrong name, or a download that fails, costs nothing
        self.llm.close()
        try:
            llm = self._load(name)
            llm.tokenizer  # noqa: B018
        except BaseException:
            self.llm = self._load(self._name)
            raise
        self.llm, self._name, self.last, self.conversation.unsent = llm, name, None, 0
        self.recount()

    def recount(self) -> None:
        """Counts anew how many tokens the conversation has, after it was changed by hand."""
        messages = self.conversation.sent()
        try:
            encode = self.llm.tokenizer.encode_chat
            used = len(encode(messages, add_generation_prompt=False)) if messages else 0
            self.context_used = min(used, self.context)
        except SternaError:  # a template that takes no system prompt alone, say, which the next message will tell
            self.context_used = 0

    def _room(self) -> int:
        return max(1, min(ROOM, self.context // 4, self.params.max_tokens or self.context))

    def _parser(self, prompt: Sequence[int]) -> Parser:
        """Parts the thoughts from the answer to `prompt`."""
        tokenizer = self.llm.tokenizer
        # Some models write the most common tags though their template has none.
        tags = tags_of(tokenizer.chat_template) or TAGS[0]
        end = tokenizer.decode(prompt[-LAST_TOKENS:], skip_special=False)
        return ThinkingParser(tags, is_open(end, tags))

    def _sampling(self) -> SamplingParams:
        if self.llm.tokenizer.chat_template is not None:
            return self.params
        return replace(self.params, stop=(*self.params.stop, *FALLBACK_STOPS))
