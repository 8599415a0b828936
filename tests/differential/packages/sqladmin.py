"""SQLAdmin: its lists, forms, static files, an export that streams, and a login with a session."""

from __future__ import annotations

from pathlib import Path

from sqladmin import Admin, ModelView
from sqladmin.authentication import AuthenticationBackend
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from starlette.applications import Starlette
from starlette.requests import Request

from tests.differential.harness import Client

REQUIRES = ["sqladmin", "itsdangerous", "starlette"]
VOLATILE = [r"session=[\w=.\-]{20,}", r"Item_\d{4}[\w\-.]*\.(csv|json)"]

engine = create_engine("sqlite:///shop.db", connect_args={"check_same_thread": False})


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Login(AuthenticationBackend):
    async def login(self, request: Request) -> bool:
        form = await request.form()
        request.session["user"] = form["username"]
        return form["password"] == "secret"

    async def logout(self, request: Request) -> bool:
        request.session.clear()
        return True

    async def authenticate(self, request: Request) -> bool:
        return "user" in request.session


class ItemAdmin(ModelView, model=Item):
    column_list = [Item.id, Item.name]
    can_export = True


if not Path("shop.db").exists():
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Item(name=f"ünit {number}") for number in range(30)])
        session.commit()

app = Starlette()
admin = Admin(app, engine, authentication_backend=Login("differential"))
admin.add_view(ItemAdmin)


async def requests(client: Client) -> None:
    await client.get("/admin/item/list", label="nobody is logged in")
    await client.get("/admin/login")
    await client.post("/admin/login", data={"username": "admin", "password": "secret"})
    await client.get("/admin/")
    await client.get("/admin/item/list?page=2&pageSize=10")
    await client.get("/admin/item/details/3")
    await client.post("/admin/item/create", data={"name": "a+b & ü", "save": "Save"})
    await client.post(
        "/admin/item/create", files={"name": (None, "in a multipart form"), "save": (None, "Save")}, label="multipart"
    )
    await client.get("/admin/item/export/csv")
    await client.get("/admin/item/details/900")
    await client.get("/admin/statics/css/main.css")
    await client.get("/admin/logout")
