// Serves the production build with React Router's own server. Usage: node server.mjs PORT
process.env.PORT = process.argv[2];
process.env.NODE_ENV = 'production';
process.env.HOST = '127.0.0.1';
process.argv[2] = './build/server/index.js';
await import('../node_modules/@react-router/serve/dist/cli.js');
