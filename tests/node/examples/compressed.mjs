// The twin of example_app/handlers/compressed.py.
import { pipeline } from "node:stream/promises";
import { setTimeout } from "node:timers/promises";
import { constants, createGzip } from "node:zlib";

async function* lines(delay) {
  for (let number = 1; number <= 5; number++) {
    yield `line ${number}\n`;
    await setTimeout(delay * 1000);
  }
}

export const handler = awslambda.streamifyResponse(async (event, responseStream, context) => {
  const delay = Number(event.queryStringParameters?.delay ?? 1);
  const metadata = { statusCode: 200, headers: { "content-type": "text/plain", "content-encoding": "gzip" } };
  responseStream = awslambda.HttpResponseStream.from(responseStream, metadata);
  await pipeline(lines(delay), createGzip({ flush: constants.Z_SYNC_FLUSH }), responseStream);
});
