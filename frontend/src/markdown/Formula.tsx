/** A formula, or its source until KaTeX is loaded and if KaTeX cannot parse it. */

import { memo, useLayoutEffect, useMemo, useRef } from "react";

import type { MathToken } from "./math";
import { onDemand } from "./onDemand";

const useTex = onDemand(() => import("./tex"));

export function Formula({ math }: { math: MathToken }) {
  return <Typeset tex={math.tex} display={math.display} open={math.open === true} />;
}

interface TypesetProps {
  tex: string;
  display: boolean;
  open: boolean;
}

const Typeset = memo(function Typeset({ tex, display, open }: TypesetProps) {
  const engine = useTex(true);
  const formula = useMemo(
    () => (engine && !open ? engine.typeset(tex, display) : null),
    [engine, tex, display, open],
  );
  if (formula === null) return <Source tex={tex} display={display} />;
  return <Placed formula={formula} display={display} />;
});

function Source({ tex, display }: { tex: string; display: boolean }) {
  return (
    <code className={display ? "md-tex md-tex-display" : "md-tex"} dir="ltr">
      {tex}
    </code>
  );
}

function Placed({ formula, display }: { formula: HTMLElement; display: boolean }) {
  const place = useRef<HTMLSpanElement>(null);
  useLayoutEffect(() => place.current?.replaceChildren(formula), [formula]);
  if (!display) return <span ref={place} className="md-math" dir="ltr" />;
  return (
    <span
      ref={place}
      className="md-math-display"
      dir="ltr"
      role="group"
      aria-label="Formula"
      tabIndex={0}
    />
  );
}
