// The twin of example_app/handlers/large.py.
import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";

const LINE = "All work and no play makes Jack a dull boy.\n";

export const handler = awslambda.streamifyResponse(async (event, responseStream, context) => {
  const megabytes = Number(event.queryStringParameters?.megabytes ?? 8);
  const source = Readable.from(Buffer.from(LINE.repeat(Math.floor((megabytes * 1_000_000) / LINE.length))));
  const metadata = { statusCode: 200, headers: { "content-type": "text/plain" } };
  responseStream = awslambda.HttpResponseStream.from(responseStream, metadata);
  await pipeline(source, responseStream);
});
