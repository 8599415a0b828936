// The workloads as a streaming handler for AWS's own Node.js runtime.
const HELLO = JSON.stringify({ message: "Hello from the benchmark" });
const SMALL = Buffer.from("x".repeat(31) + "\n");
const LARGE = Buffer.alloc(65536, "y");
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export const handler = awslambda.streamifyResponse(async (event, responseStream) => {
  const path = event.rawPath;
  const type = path === "/hello" ? "application/json" : "text/plain; charset=utf-8";
  const stream = awslambda.HttpResponseStream.from(responseStream, {
    statusCode: 200,
    headers: { "content-type": type },
  });
  if (path === "/hello") {
    stream.write(HELLO); // end(HELLO) alone would leave out the prelude
    stream.end();
    return;
  }
  const [, name, count] = path.split("/");
  let message = name === "bulk" ? LARGE : SMALL;
  for (let number = 0; number < Number(count); number++) {
    if (name === "spaced") {
      await pause(2);
      message = String(process.hrtime.bigint()).padEnd(31) + "\n";
    }
    if (!stream.write(message)) {
      await new Promise((resolve) => stream.once("drain", resolve));
    }
  }
  stream.end();
});
