"""A chat in the browser: the conversation in Streamlit's session, the answer as it comes, tokens and cost below it.

pip install streamlit
streamlit run examples/streamlit_app.py -- [--model REF]
"""

import argparse
from collections.abc import Iterator

import streamlit as st

import awsllm

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="local:smollm2-135m-instruct", metavar="REF")
options = parser.parse_args()
# One for all sessions: a client may be shared between threads.
client: awsllm.Client = st.cache_resource(lambda: awsllm.Client())()

st.title("Chat")
model = st.sidebar.text_input("Model", options.model)
system = st.sidebar.text_area("System prompt", "Answer in one or two sentences.")
history: list[awsllm.Message] = st.session_state.setdefault("history", [])
if st.sidebar.button("New conversation"):
    history.clear()
for message in history:
    st.chat_message(message.role).markdown(message.text)

if question := st.chat_input("Say something"):
    st.chat_message("user").markdown(question)
    asked = [*history, awsllm.Message.user(question)]
    try:
        with client.converse_stream(model, asked, system=system or None, max_tokens=200) as stream:

            def texts() -> Iterator[str]:
                yield from stream.text_stream

            st.chat_message("assistant").write_stream(texts)
            response = stream.response
    except awsllm.AwsllmError as error:  # nothing was added to the history: the question can be asked again
        st.error(str(error))
    else:
        history.extend([*asked[len(history) :], *response.messages])
        cost = "" if response.cost is None else f", ${response.cost:.6f}"
        st.caption(f"{response.usage.input_tokens} tokens in, {response.usage.output_tokens} out{cost}")
