// components/ChatBox.tsx
import React, { useState } from 'react';
import { useLLMStream } from '../hooks/useLLMStream';

export function ChatBox() {
  const [messages, setMessages] = useState<Array<{ role: string; content: string }>>([]);
  const [input, setInput] = useState('');
  const [provider, setProvider] = useState('openai');
  
  const { 
    streamChat, 
    cancelStream, 
    isStreaming, 
    currentMessage, 
    error,
    isConnected 
  } = useLLMStream();

  const handleSend = () => {
    if (!input.trim() || isStreaming) return;

    const userMessage = { role: 'user', content: input };
    const allMessages = [...messages, userMessage];
    
    setMessages(allMessages);
    setInput('');
    
    streamChat(provider, allMessages);
  };

  // When streaming completes, add to message history
  React.useEffect(() => {
    if (!isStreaming && currentMessage) {
      setMessages(prev => [...prev, { 
        role: 'assistant', 
        content: currentMessage 
      }]);
    }
  }, [isStreaming, currentMessage]);

  return (
    <div className="chat-box">
      <div className="connection-status">
        {isConnected ? '🟢 Connected' : '🔴 Disconnected'}
      </div>

      <select value={provider} onChange={(e) => setProvider(e.target.value)}>
        <option value="openai">OpenAI</option>
        <option value="claude">Claude</option>
        <option value="gemini">Gemini</option>
        <option value="deepseek">DeepSeek</option>
      </select>

      <div className="messages">
        {messages.map((msg, idx) => (
          <div key={idx} className={`message ${msg.role}`}>
            <strong>{msg.role}:</strong> {msg.content}
          </div>
        ))}
        
        {isStreaming && (
          <div className="message assistant streaming">
            <strong>assistant:</strong> {currentMessage}
            <span className="cursor">▊</span>
          </div>
        )}
        
        {error && (
          <div className="error">Error: {error}</div>
        )}
      </div>

      <div className="input-area">
        <input
          type="text"
          value={input}
          onChange={(e) => setInput(e.target.value)}
          onKeyPress={(e) => e.key === 'Enter' && handleSend()}
          disabled={isStreaming}
          placeholder="Type your message..."
        />
        
        {isStreaming ? (
          <button onClick={cancelStream}>Cancel</button>
        ) : (
          <button onClick={handleSend} disabled={!input.trim()}>
            Send
          </button>
        )}
      </div>
    </div>
  );
}
