// The token server of `npm run bench`, in a process of its own: while the bench starts a crowd it could answer nobody, and the
// time a request lies there would be told of the crowd.
import { fork } from 'node:child_process'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'

if (process.argv[1] === fileURLToPath(import.meta.url)) serve()

/**
 * Starts it. What it answers is set with `answer({ lifeS, afterMs, status })`; `requests()` is how many came so far.
 *
 * @returns `{ url, answer, requests, close }`
 */
export async function startServer() {
  const child = fork(fileURLToPath(import.meta.url))
  const told = () =>
    new Promise((resolve, reject) => {
      const ended = code => reject(new Error(`the bench's server ended with ${code}`))
      child.once('exit', ended)
      child.once('message', message => {
        child.off('exit', ended)
        resolve(message)
      })
    })
  const ask = answer => {
    const reply = told()
    child.send({ answer })
    return reply
  }
  const { url } = await told()
  return {
    url,
    answer: async answer => void (await ask(answer)),
    requests: async () => (await ask()).requests,
    close: () => child.disconnect(),
  }
}

function serve() {
  let answer = { lifeS: 3600, afterMs: 0 }
  let requests = 0
  const server = createServer((request, response) => {
    requests++
    const token = `token-${requests}`
    const { lifeS, afterMs, status } = answer
    request.resume()
    setTimeout(() => {
      response.setHeader('content-type', 'application/json')
      if (status !== undefined) response.writeHead(status, { 'retry-after': '3600' }).end()
      else response.end(JSON.stringify({ access_token: token, token_type: 'Bearer', expires_in: lifeS }))
    }, afterMs)
  })
  process.on('message', message => {
    answer = message.answer ?? answer
    process.send({ requests })
  })
  process.on('disconnect', () => process.exit())
  server.listen(0, '127.0.0.1', () =>
    process.send({ url: `http://127.0.0.1:${server.address().port}/token` }),
  )
}
