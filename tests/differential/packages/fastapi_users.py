"""FastAPI Users: registration, a login that sets a cookie, a page for users only, logout."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator

from fastapi import Depends, FastAPI
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin, schemas
from fastapi_users.authentication import AuthenticationBackend, BearerTransport, CookieTransport, JWTStrategy
from fastapi_users.db import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from tests.differential.harness import Client

REQUIRES = ["fastapi-users[sqlalchemy]", "aiosqlite", "fastapi"]
VOLATILE = [r"[\w-]+\.[\w-]+\.[\w-]{40,}", r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"]

SECRET = "differential, a secret of more than thirty-two bytes"
engine = create_async_engine("sqlite+aiosqlite:///users.db")
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class User(SQLAlchemyBaseUserTableUUID, Base):
    pass


class UserManager(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
    reset_password_token_secret = verification_token_secret = SECRET


async def managers() -> AsyncIterator[UserManager]:
    async with sessions() as session:
        yield UserManager(SQLAlchemyUserDatabase(session, User))


def strategy() -> JWTStrategy:
    return JWTStrategy(secret=SECRET, lifetime_seconds=3600)


cookie = AuthenticationBackend("cookie", CookieTransport(cookie_secure=False, cookie_max_age=3600), strategy)
bearer = AuthenticationBackend("bearer", BearerTransport("auth/login"), strategy)
users = FastAPIUsers[User, uuid.UUID](managers, [cookie, bearer])


class ReadUser(schemas.BaseUser[uuid.UUID]):
    pass


class CreateUser(schemas.BaseUserCreate):
    pass


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI):
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)
app.include_router(users.get_register_router(ReadUser, CreateUser), prefix="/auth")
app.include_router(users.get_auth_router(cookie), prefix="/cookie")
app.include_router(users.get_auth_router(bearer), prefix="/bearer")


@app.get("/me")
async def me(user: User = Depends(users.current_user())):
    return {"email": user.email}


async def requests(client: Client) -> None:
    await client.get("/me", label="nobody is logged in")
    account = {"email": "a+b@shop.example", "password": "secret"}
    await client.post("/auth/register", json=account)
    await client.post("/auth/register", json=account, label="registered already")
    await client.post(
        "/cookie/login", data={"username": "a+b@shop.example", "password": "wrong"}, label="wrong password"
    )
    login = {"username": "a+b@shop.example", "password": "secret"}
    token = await client.post("/bearer/login", data=login)
    bearer = {"authorization": "Bearer " + token.text.partition('access_token":"')[2].partition('"')[0]}
    await client.get("/me", headers=bearer, label="by a token")
    await client.post("/cookie/login", data=login)
    await client.get("/me", label="by a cookie")
    await client.post("/cookie/logout")
    await client.get("/me", label="logged out")
