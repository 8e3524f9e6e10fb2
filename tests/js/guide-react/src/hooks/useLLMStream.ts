// hooks/useLLMStream.ts
import { useEffect, useState, useCallback } from 'react';
import { io, Socket } from 'socket.io-client';

interface Message {
  role: 'user' | 'assistant' | 'system';
  content: string;
}

export function useLLMStream() {
  const [socket, setSocket] = useState<Socket | null>(null);
  const [isStreaming, setIsStreaming] = useState(false);
  const [currentMessage, setCurrentMessage] = useState('');
  const [error, setError] = useState<string | null>(null);
  const [currentSessionId, setCurrentSessionId] = useState<string | null>(null);

  useEffect(() => {
    const token = localStorage.getItem('jwt_token');
    const newSocket = io('http://localhost:3000', {
      auth: { token }
    });

    newSocket.on('connect', () => {
      console.log('WebSocket connected');
    });

    newSocket.on('disconnect', () => {
      console.log('WebSocket disconnected');
    });

    setSocket(newSocket);

    return () => {
      newSocket.close();
    };
  }, []);

  useEffect(() => {
    if (!socket) return;

    socket.on('llm:stream:start', (data) => {
      console.log('Stream started:', data);
      setIsStreaming(true);
      setCurrentMessage('');
      setError(null);
    });

    socket.on('llm:stream:token', (data) => {
      if (data.sessionId === currentSessionId) {
        setCurrentMessage((prev) => prev + data.token);
      }
    });

    socket.on('llm:stream:done', (data) => {
      if (data.sessionId === currentSessionId) {
        setIsStreaming(false);
        console.log('Stream complete:', data);
      }
    });

    socket.on('llm:stream:error', (data) => {
      if (data.sessionId === currentSessionId) {
        setError(data.error);
        setIsStreaming(false);
      }
    });

    socket.on('llm:stream:cancelled', (data) => {
      if (data.sessionId === currentSessionId) {
        setIsStreaming(false);
        console.log('Stream cancelled');
      }
    });

    return () => {
      socket.off('llm:stream:start');
      socket.off('llm:stream:token');
      socket.off('llm:stream:done');
      socket.off('llm:stream:error');
      socket.off('llm:stream:cancelled');
    };
  }, [socket, currentSessionId]);

  const streamChat = useCallback((provider: string, messages: Message[]) => {
    if (!socket || isStreaming) return;

    const sessionId = `session-${Date.now()}`;
    setCurrentSessionId(sessionId);
    setCurrentMessage('');
    setError(null);

    socket.emit('llm:chat:stream', {
      sessionId,
      provider,
      messages
    });
  }, [socket, isStreaming]);

  const cancelStream = useCallback(() => {
    if (!socket || !currentSessionId) return;

    socket.emit('llm:stream:cancel', {
      sessionId: currentSessionId
    });
  }, [socket, currentSessionId]);

  return {
    streamChat,
    cancelStream,
    isStreaming,
    currentMessage,
    error,
    isConnected: socket?.connected || false
  };
}
