const io = require('socket.io-client');

const socket = io('http://localhost:3000', {
  auth: { token: 'your-jwt-token' }
});

socket.on('connect', () => {
  console.log('Connected!');
  
  socket.emit('llm:chat:stream', {
    sessionId: 'test-session',
    provider: 'openai',
    messages: [{ role: 'user', content: 'Hi!' }]
  });
});

socket.on('llm:stream:token', (data) => {
  process.stdout.write(data.token);
});

socket.on('llm:stream:done', (data) => {
  console.log('\n\nDone! Tokens:', data.tokenCount);
  socket.close();
});
