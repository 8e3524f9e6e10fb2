/** A list that keeps showing its end as it grows, unless the reader has scrolled up. */
import {
  type RefObject,
  useCallback,
  useEffect,
  useLayoutEffect,
  useRef,
  useState,
} from "react";

const NEAR_PX = 64;

export interface FollowedEnd {
  /** The element that scrolls. */
  list: RefObject<HTMLDivElement | null>;
  /** The element in it that grows. */
  content: RefObject<HTMLDivElement | null>;
  /** False while the reader has scrolled up. */
  atEnd: boolean;
  toEnd: (how?: ScrollBehavior) => void;
}

export function useFollowedEnd(): FollowedEnd {
  const list = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  const lastTop = useRef(0);
  const [atEnd, setAtEnd] = useState(true);

  const toEnd = useCallback((how: ScrollBehavior = "instant") => {
    following.current = true;
    setAtEnd(true);
    const element = list.current;
    element?.scrollTo({ top: element.scrollHeight, behavior: how });
  }, []);

  useLayoutEffect(() => toEnd(), [toEnd]);

  useEffect(() => {
    const element = list.current;
    const inner = content.current;
    if (element === null || inner === null) return;

    const onScroll = () => {
      const { scrollTop, scrollHeight, clientHeight } = element;
      const near = scrollHeight - scrollTop - clientHeight < NEAR_PX;
      // Only a reader scrolls up; content that has grown is still followed.
      if (near) following.current = true;
      else if (scrollTop < lastTop.current) following.current = false;
      lastTop.current = scrollTop;
      setAtEnd(near || following.current);
    };
    const onGrowth = () => {
      if (following.current) element.scrollTop = element.scrollHeight;
      else onScroll();
    };
    const observer = new ResizeObserver(onGrowth);
    observer.observe(inner);
    observer.observe(element);
    element.addEventListener("scroll", onScroll, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", onScroll);
    };
  }, []);

  return { list, content, atEnd, toEnd };
}
