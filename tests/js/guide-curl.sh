curl -X POST http://localhost:3000/llm/chat \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer YOUR_JWT_TOKEN" \
  -d '{
    "provider": "openai",
    "messages": [
      { "role": "user", "content": "Hello!" }
    ],
    "stream": false
  }'
