// The twin of example_app/handlers/raw.py.
import { setTimeout } from "node:timers/promises";

export const handler = awslambda.streamifyResponse(async (event, responseStream, context) => {
  const delay = Number(event.queryStringParameters?.delay ?? 1);
  responseStream.setContentType("text/plain");
  for (const word of ["Bytes", "without", "status", "and", "headers"]) {
    responseStream.write(`${word}\n`);
    await setTimeout(delay * 1000);
  }
  responseStream.end();
});
