// The twin of example_app/handlers/headings.py.
import { setTimeout } from "node:timers/promises";

export const handler = awslambda.streamifyResponse(async (event, responseStream, context) => {
  const delay = Number(event.queryStringParameters?.delay ?? 1);
  const metadata = {
    statusCode: 200,
    headers: { "content-type": "text/html; charset=utf-8", "x-custom-header": "some-value" },
  };
  responseStream = awslambda.HttpResponseStream.from(responseStream, metadata);
  responseStream.write("<!doctype html>\n<title>Streaming</title>\n");
  for (let number = 1; number <= 5; number++) {
    responseStream.write(`<h${number}>Heading ${number}</h${number}>\n`);
    await setTimeout(delay * 1000);
  }
  responseStream.end("<p>That is all.\n");
});
