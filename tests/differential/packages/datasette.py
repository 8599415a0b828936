"""Datasette: pages, JSON, a CSV export that streams, and its static files."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from datasette.app import Datasette

from tests.differential.harness import Client

REQUIRES = ["datasette", "setuptools"]
VOLATILE = [r'"query_ms": [\d.]+', r"Queries took [\d.]+ms", r"ds_csrftoken=[\w.\-]+", r'value="[\w.\-]{60,}"']

if not Path("shop.db").exists():
    with sqlite3.connect("shop.db") as database:
        database.execute("create table [a/b %] (id integer primary key, name text)")
        database.executemany("insert into [a/b %] (name) values (?)", [(f"name {number}",) for number in range(500)])

app = Datasette(["shop.db"], settings={"force_https_urls": False, "num_sql_threads": 0}).app()


async def requests(client: Client) -> None:
    await client.get("/")
    await client.head("/")
    await client.get("/nothing-here")
    await client.get("/shop/a~2Fb+~25", label="a table whose name is encoded")
    await client.get("/shop/a~2Fb+~25/7")
    await client.get("/shop/a~2Fb+~25.json?_size=3&_shape=array")
    await client.get("/shop/a~2Fb+~25.csv?_stream=on&_size=max", label="a CSV export")
    await client.get("/shop.json?sql=select+%27a%2Bb%27&_shape=array")
    await client.get("/shop?sql=select+nothing", label="an error")
    await client.get("/-/static/app.css", label="a static file")
    await client.get("/shop.db", label="the database file")
    await client.get("/-/logout")
