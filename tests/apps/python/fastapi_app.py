"""A FastAPI application with its own Swagger UI, and a chat over server-sent events."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from swagger_ui_bundle import swagger_ui_path

app = FastAPI(title="Chandlery", docs_url=None, redoc_url=None)
app.openapi_version = "3.0.2"  # what the bundled Swagger UI reads
app.mount("/swagger", StaticFiles(directory=swagger_ui_path), name="swagger")
items: dict[int, str] = {1: "rope", 2: "lamp oil"}
listeners: set[asyncio.Queue] = set()


class Item(BaseModel):
    name: str


class Word(BaseModel):
    text: str


@app.get("/docs", include_in_schema=False)
def docs() -> HTMLResponse:
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Chandlery",
        swagger_js_url="/swagger/swagger-ui-bundle.js",
        swagger_css_url="/swagger/swagger-ui.css",
        swagger_favicon_url="/swagger/favicon-32x32.png",
    )


@app.get("/items/{number}")
def read_item(number: int) -> Item:
    if number not in items:
        raise HTTPException(404, "No such item")
    return Item(name=items[number])


@app.put("/items/{number}")
def write_item(number: int, item: Item) -> Item:
    items[number] = item.name
    return item


@app.get("/chat", include_in_schema=False)
def chat() -> HTMLResponse:
    return HTMLResponse(
        """<!doctype html><html lang="en">
<head><title>Chat</title><link rel="icon" href="data:,"></head>
<body><h1>Chat</h1><ul id="said"></ul><form id="say"><input name="text"><button>Say</button></form>
<script>
const source = new EventSource('/chat/stream');
source.addEventListener('word', event => {
  const item = document.createElement('li');
  item.textContent = JSON.parse(event.data).text;
  document.getElementById('said').append(item);
});
source.onopen = () => { document.body.dataset.open = 'yes'; };
document.getElementById('say').onsubmit = async event => {
  event.preventDefault();
  const text = event.target.text.value;
  await fetch('/chat/say', { method: 'POST', headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ text }) });
};
</script></body></html>"""
    )


@app.get("/chat/stream", include_in_schema=False)
async def stream() -> StreamingResponse:
    queue: asyncio.Queue = asyncio.Queue(100)
    listeners.add(queue)

    async def events() -> AsyncIterator[Any]:
        try:
            yield ": here\n\n"
            while True:
                yield f"event: word\ndata: {json.dumps({'text': await queue.get()})}\n\n"
        finally:
            listeners.discard(queue)

    return StreamingResponse(events(), media_type="text/event-stream")


@app.post("/chat/say", include_in_schema=False)
async def say(word: Word) -> dict[str, int]:
    for queue in listeners:
        queue.put_nowait(word.text)
    return {"heard": len(listeners)}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
