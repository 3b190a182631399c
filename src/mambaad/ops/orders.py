"""Placeholder until the real one lands."""
import functools, numpy as np
from typing import Literal
ScanMethod = Literal["sweep","scan","zorder","zigzag","hilbert"]
SCAN_METHODS=("sweep","scan","zorder","zigzag","hilbert")
def scan_order(method,h,w):
    n=h
    out=[]
    for d in range(n*n):
        x=y=0;t=d;s=1
        while s<n:
            rx=1&(t//2); ry=1&(t^rx)
            if ry==0:
                if rx==1: x=s-1-x;y=s-1-y
                x,y=y,x
            x+=s*rx;y+=s*ry;t//=4;s*=2
        out.append(x+y*n)
    return np.array(out)
@functools.lru_cache
def directional_orders(method,k,h,w):
    g=np.arange(h*w).reshape(h,w); r=np.rot90(g)
    base=[g,g.T,r,r.T]; o=scan_order(method,h,w)
    a=[b.reshape(-1)[o] for b in base[:max(k//2,1)]]
    if k>1: a=a+[q[::-1] for q in a]
    return np.stack(a).copy()
