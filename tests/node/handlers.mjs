// The handlers that run under AWS's own Node.js runtime; those of handlers.py say the same in Python.
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";

const LARGE = Buffer.alloc(3_000_000, "0123456789abcdef");

function http(stream, metadata) {
  return awslambda.HttpResponseStream.from(stream, metadata);
}

const streams = {
  async metadata_and_writes(stream) {
    stream = http(stream, { statusCode: 201, headers: { "content-type": "text/html", "X-One": "ü" } });
    stream.write("<p>one ☃");
    stream.write(Buffer.from([0, 1, 255]));
    stream.end("two");
  },

  async metadata_with_cookies(stream) {
    stream = http(stream, { statusCode: 200, headers: {}, cookies: ["a=1; Path=/", "b=2"] });
    stream.write("page");
    stream.end();
  },

  async metadata_and_end(stream) {
    http(stream, { statusCode: 200, headers: {} }).end("page");
  },

  async metadata_and_nothing(stream) {
    http(stream, { statusCode: 204, headers: {} }).end();
  },

  async content_type(stream) {
    stream.setContentType("text/css");
    stream.end("p {}");
  },

  async no_content_type(stream) {
    stream.write("one ");
    stream.end("two");
  },

  async nothing(stream) {
    stream.end();
  },

  async no_end(stream) {
    stream.write("whole");
  },

  async an_object(stream) {
    stream.write({ a: 1 });
    stream.end();
  },

  async throws_before(stream) {
    throw new TypeError("before");
  },

  async throws_after_metadata(stream) {
    http(stream, { statusCode: 200, headers: {} });
    throw new TypeError("before");
  },

  async throws_in_mid_stream(stream) {
    stream.write("part");
    throw new TypeError("after");
  },

  async throws_in_mid_page(stream) {
    http(stream, { statusCode: 200, headers: {} }).write("part");
    throw new TypeError("after");
  },

  async throws_after_the_end(stream) {
    stream.end("whole");
    throw new TypeError("too late");
  },

  async metadata_too_late(stream) {
    stream.write("part");
    http(stream, { statusCode: 200, headers: {} });
  },

  async large_source(stream) {
    await pipeline(Readable.from(LARGE), http(stream, { statusCode: 200, headers: {} }));
  },

  async gzip(stream) {
    stream = http(stream, { statusCode: 200, headers: { "content-encoding": "gzip" } });
    await pipeline(Readable.from([LARGE]), createGzip(), stream);
  },

  async source_that_fails(stream) {
    async function* source() {
      yield "part";
      throw new TypeError("in the source");
    }
    await pipeline(source(), stream);
  },
};

const answers = {
  async object() {
    return { statusCode: 200, body: "ü" };
  },

  async nothing() {},

  async text() {
    return "☃";
  },

  async throws() {
    throw new TypeError("no");
  },
};

export const streaming = awslambda.streamifyResponse(async (event, stream, context) => {
  await streams[event.case](stream);
});

export const plain = async (event, context) => answers[event.case]();
