// A certified identity provider for the tests: `node server.mjs PORT GATE` (the gate's origin).
import Provider from 'oidc-provider'

const [port, gate] = process.argv.slice(2)
const issuer = `http://127.0.0.1:${port}`

// Whoever signs in is taken for the person of that name.
const findAccount = async (_, id) => ({
  accountId: id,
  claims: async () => ({
    sub: id,
    email: `${id}@example.com`,
    email_verified: true,
    preferred_username: id,
    groups: ['staff', id],
  }),
})

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'gate',
      client_secret: 'a secret: with/signs',
      redirect_uris: [`${gate}/login/with/company/callback`],
      post_logout_redirect_uris: [`${gate}/login`],
      backchannel_logout_uri: `${gate}/login/with/company/logout`,
      backchannel_logout_session_required: true,
    },
  ],
  claims: { email: ['email', 'email_verified'], profile: ['preferred_username', 'groups'] },
  cookies: { keys: ['only for tests'] },
  features: {
    backchannelLogout: { enabled: true },
    devInteractions: { enabled: true },
    rpInitiatedLogout: { enabled: true },
  },
  // Its own dispatcher refuses addresses of this machine.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  findAccount,
})
provider.on('server_error', (_, error) => console.error(error))
provider.on('backchannel.error', (_, error) => console.error(error))
provider.on('backchannel.success', () => console.error('back-channel logout sent'))
provider.listen(Number(port), '127.0.0.1')
