import { createRoot } from 'react-dom/client';
import { ChatBox } from './components/ChatBox';

createRoot(document.getElementById('root')!).render(<ChatBox />);
