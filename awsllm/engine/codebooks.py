"""The stored formats of fewer than four bits a value: each run of values is an entry of a codebook.

Blocks hold 256 values; they come as ``(n, bytes)`` uint8 and leave as ``(n, 256)`` float32, with the arithmetic in
ggml's order. A codebook (``_grid``) has entries of 8 values, or 4 in the three-bit formats; signs stand apart, for 8
values in a byte, or in seven bits where the eighth makes their number even. IQ1's values are shifted by an eighth of
the scale. TQ1_0 and TQ2_0 are ternary: five values in a byte by powers of 3, or four by shifts.

The codebooks' contents are ggml's (``ggml-common.h``), chosen there by experiment: they cannot be computed.
"""

from __future__ import annotations

import base64
import zlib
from functools import cache
from typing import Final

import torch
from torch import Tensor

from awsllm.engine.blocks import bits, groups, half

_TWO_BIT: Final = (8.0, 25.0, 43.0)
_GRIDS: Final = {  # name: entries, values of an entry, what a digit of it stands for; in the order of _ENTRIES
    "iq2_xxs": (256, 8, _TWO_BIT),
    "iq2_xs": (512, 8, _TWO_BIT),
    "iq2_s": (1024, 8, _TWO_BIT),
    "iq3_xxs": (256, 4, (4.0, 12.0, 20.0, 28.0, 36.0, 44.0, 52.0, 62.0)),
    "iq3_s": (512, 4, (1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0)),
    "iq1_s": (2048, 8, (-1.0, 0.0, 1.0)),
}


@cache
def _grid(name: str) -> Tensor:
    """A codebook, (entries, values)."""
    names = list(_GRIDS)
    start = sum(_GRIDS[before][0] for before in names[: names.index(name)])
    entries, width, levels = _GRIDS[name]
    packed = bytearray(zlib.decompress(base64.b85decode(_ENTRIES)))
    numbers = torch.frombuffer(packed, dtype=torch.uint16)[start : start + entries].int()
    digits = numbers[:, None] // len(levels) ** torch.arange(width) % len(levels)  # the first value is the lowest digit
    return torch.tensor(levels)[digits]


def _words(blocks: Tensor, start: int, stop: int, kind: torch.dtype) -> Tensor:
    """Bytes of each block as little-endian whole numbers, (n, count) int32, or int64 for 32 bits."""
    words = blocks[:, start:stop].contiguous().view(kind)
    return words.to(torch.int64 if kind == torch.uint32 else torch.int32)


def _signs(bytes_: Tensor) -> Tensor:
    """(n, b) bytes -> (n, 8 b) of 1 and -1: a set bit is a minus."""
    set_bits = bytes_.int()[:, :, None] >> torch.arange(8, dtype=torch.int32) & 1
    return (1 - 2 * set_bits).view(len(bytes_), -1).float()


def _even_signs(seven: Tensor) -> Tensor:
    """(n, b) numbers of seven bits -> signs (n, 8 b); the eighth is such that minuses are even in number."""
    parity = sum(seven >> n for n in range(7)) & 1
    return _signs(seven | parity << 7)


def _scaled(scale: Tensor, entries: Tensor, signs: Tensor | float) -> Tensor:
    """Codebook entries as values: (n, g) scales, each for 256 / g of them."""
    return (groups(scale, entries.view(len(scale), -1)) * _shaped(signs, scale)).view(len(scale), -1)


def _shaped(signs: Tensor | float, scale: Tensor) -> Tensor | float:
    return signs.view(*scale.shape, -1) if isinstance(signs, Tensor) else signs


def _halves(packed: Tensor) -> Tensor:
    """(n, b) bytes -> (n, 2 b) nibbles: low and high in turn."""
    return (packed[:, :, None] >> torch.tensor([0, 4], dtype=torch.uint8) & 15).view(len(packed), -1)


def iq2_xxs(blocks: Tensor) -> Tensor:
    """A group of 32 is 8 bytes: four places in the codebook, then four times seven bits of signs and the scale."""
    places = blocks[:, 2:].contiguous().view(len(blocks), 8, 8)[:, :, :4].reshape(len(blocks), 32)
    rest = _words(blocks, 2, 66, torch.uint32)[:, 1::2]  # (n, 8)
    scale = half(blocks, 0) * (0.5 + (rest >> 28).float()) * 0.25
    return _scaled(scale, _grid("iq2_xxs")[places.int()], _even_signs(_sevens(rest)))


def _sevens(words: Tensor) -> Tensor:
    """(n, w) numbers -> (n, 4 w): four times seven bits of each."""
    return (words[:, :, None] >> torch.tensor([0, 7, 14, 21]) & 127).view(len(words), -1).int()


def iq2_xs(blocks: Tensor) -> Tensor:
    """16 bits are nine of a place in the codebook and seven of signs; a nibble is the scale of 16 values."""
    words = _words(blocks, 2, 66, torch.uint16)
    scale = half(blocks, 0) * (0.5 + _halves(blocks[:, 66:]).float()) * 0.25
    return _scaled(scale, _grid("iq2_xs")[words & 511], _even_signs(words >> 9))


def iq2_s(blocks: Tensor) -> Tensor:
    """A place's lowest eight bits, the signs, a place's highest two, then scales as IQ2_XS has them."""
    places = blocks[:, 2:34].int() | bits(blocks[:, 66:74].contiguous(), 2, 1).int() << 8
    scale = half(blocks, 0) * (0.5 + _halves(blocks[:, 74:]).float()) * 0.25
    return _scaled(scale, _grid("iq2_s")[places], _signs(blocks[:, 34:66]))


def iq3_xxs(blocks: Tensor) -> Tensor:
    """64 places, then for each group of 32 four times seven bits of signs and the scale."""
    rest = _words(blocks, 66, 98, torch.uint32)
    scale = half(blocks, 0) * (0.5 + (rest >> 28).float()) * 0.5
    return _scaled(scale, _grid("iq3_xxs")[blocks[:, 2:66].int()], _even_signs(_sevens(rest)))


def iq3_s(blocks: Tensor) -> Tensor:
    """64 places, the ninth bit of each, the signs, a nibble of scale for each group of 32."""
    places = blocks[:, 2:66].int() | bits(blocks[:, 66:74].contiguous(), 1, 1).int() << 8
    scale = half(blocks, 0) * (1 + 2 * _halves(blocks[:, 106:]).float())
    return _scaled(scale, _grid("iq3_s")[places], _signs(blocks[:, 74:106]))


def iq1_s(blocks: Tensor) -> Tensor:
    """32 places, and for each group of 32 the highest three bits of four places, the scale, the shift's sign."""
    rest = _words(blocks, 34, 50, torch.uint16)  # (n, 8)
    high = (rest[:, :, None] >> torch.tensor([0, 3, 6, 9], dtype=torch.int32) & 7).view(-1, 32)
    scale = half(blocks, 0) * (2 * (rest >> 12 & 7) + 1).float()
    shift = torch.where(rest & 0x8000 == 0, 0.125, -0.125)
    entries = _grid("iq1_s")[blocks[:, 2:34].int() | high << 8].view(-1, 8, 32)
    return (scale[:, :, None] * (entries + shift[:, :, None])).view(-1, 256)


def iq1_m(blocks: Tensor) -> Tensor:
    """32 places, a nibble for each (the highest three bits and the shift's sign), four times 16 bits: the scales of
    four runs of 16 values in three bits each, and a quarter of the float16 that scales the block."""
    rest = _words(blocks, 48, 56, torch.uint16)  # (n, 4)
    quarters = (rest >> 12) << torch.tensor([0, 4, 8, 12], dtype=torch.int32)
    whole = quarters.sum(1, keepdim=True).to(torch.int16).view(torch.float16).float()
    factors = (rest[:, :, None] >> torch.tensor([0, 3, 6, 9], dtype=torch.int32) & 7).view(-1, 16)
    nibbles = _halves(blocks[:, 32:48]).int()  # (n, 32)
    shift = torch.where(nibbles & 8 == 0, 0.125, -0.125)
    entries = _grid("iq1_s")[blocks[:, :32].int() | (nibbles & 7) << 8]  # (n, 32, 8)
    scale = (whole * (2 * factors + 1).float()).repeat_interleave(2, 1)
    return (scale[:, :, None] * (entries + shift[:, :, None])).view(-1, 256)


def tq1_0(blocks: Tensor) -> Tensor:
    """48 bytes of five values each, four bytes of four, the scale; a value is the highest digit to the base 3."""
    powers = torch.tensor([1, 3, 9, 27, 81], dtype=torch.uint8)
    runs = ((0, 32, 5), (32, 48, 5), (48, 52, 4))
    spread = [(blocks[:, None, start:stop] * powers[:count, None]).flatten(1) for start, stop, count in runs]
    return half(blocks, 52) * ((torch.cat(spread, 1).int() * 3 >> 8) - 1).float()


def tq2_0(blocks: Tensor) -> Tensor:
    """64 bytes of four values each, the scale."""
    return half(blocks, 64) * (bits(blocks[:, :64].contiguous(), 2, 32).int() - 1).float()


_ENTRIES: Final = (  # each entry as a number of 16 bits, its values as digits; deflated, in base 85
    "c-objWt$eq8m+6ltG%k-UR(xucXwxScXxMpcL>hl5=iji?!nz<a2Q+y1UU~K4%f~;`^)(U?_9H<`(CRWAr@gIAPFgmAPYGtK=Dulln6zkv?wFWjB"
    "=vfs30nfs-SA94r+kfp)qI%T7;IM&FCt6i{7KpNMIyJV+_V&k}zqR^h{Q!AXA(v$&_VkFwK}=Odn<#GnbjqtYuCzx0wgb6DE#%&3t887PAUV*ko*"
    "8whB9joyJ~eud}gi9Q&3PIExFo1YBA!Gnb#M$kpH)ag(^&+;Q$Kcaw|do^vctkIUl@xF6nw_u(V>Dt?a*-r;NUBlz|FMt&QAn!n9I;-Bydgeak!P"
    "(xTItPp+^_6R41_kty+6i0~j#Z}@}v6eJWnjlS+W=r#>7-^ZbTG}XWk@iUkq+`-`>A9rHmh8zH<(zUwxrW?G9v}~sC&?S-1M*e*o}5JKqI6UGDC3"
    "k#%04Add8vF-vZ__oW@;O?gW65)q0Uxg)Gg{+6_Ju;2AN6Ll20TFElaD>I<ybnOkdN&T1l;z)=8V7ZPuP^M9-{e*T?AN^lf@!!!rXjk(t%3XtptX"
    "m_y8creYDxvOFuw%4yZH`dD+V_0}Qlvh~%fY_G6i+aGM~C{AvtqSM1!>%=<m9pu(>iI>|u=EZrepTuwDAM?)!Yy|!5|F0n<%zy_e_@03zC>i7+B}"
    ")AtS;&j>qr#{tDv3&mnW%wkK`!b+G8&;Ks2OSj3F&}3p)RNg>V*cNVQ3U2W>T1#WoQLjjebKL(Jr(H9YV*@Wpq2t&<FGha`Y7;hGqV5nk>juz{Fz"
    "`{7lvNOqGUIRb(ndvKlc>m{v>|NY@NzCZuaM<ZC@7>;dyAOxSbgC8X>F^Z7^43^oCqk<H2GhO`xiymer^v7^}8Yz%vxJsl?RCVLywcaMF*K7tHBh"
    "ZMeNKd_(JuPovOPUDO)lWDp1Tt-M`b}lC*vm{p<(%Fb>$93TPaRazP+%Rqiw*qo{k~<Aqy~tgLyguTdKw@8VpCPr0a1xvn=Z56=!IOSu_ZX!20sa"
    ")`w<zRyZJ6NA{1!;@4t^JZfIkUoz6fdl#A87ah>!>}ogGr$N*E(7`jPBiknQiuP9WwNON+I{Y2r*scnoBGk9b~;6%$CQrNUBqsf*M@>J?^wk~9T!"
    "KSP@NGy5x~RgnMRq_xs|xPcu%ui&P1TZ)w)NRQwiK1iP=6y8KixQfhh7rEt<a%s4WLGlo|jZyL#c>-L>Y<aG{2<~K$d|Ey$Uxr(GB6~^_CACseDg"
    "GZ<GgFCy%Q>#xRvswt6%Q__h1x2-o=$K*{nSC~5Oow>(Pp@!UFtsdG~ALvqDT!=i_{^FNE_0H3?mar3|T>bBR9!CLTGwg6fUd=Z9zNGNpv+_*%q2"
    "oE2#Z*Y0b2DS}$!J+}m4?)sw)z6@+`6tH<ca^(dp3F~&G%#2IhH+lyx=Fq4?c%+zLPxWepaUb8&hVl%Ua*$OVQo!JR)a-2EE++rRxpPMgDWC_+k7"
    "wY`D(UNeby{u){HtV+a*<x+WPHktkv)g6uD)xH&ynWS<wd3rU;pHk$;G}j6JJp;{&Nk;HT<-(8Ucn`9dAEz(&5dzCxyiiJ-Y{>8cLeVFq<7l8>cx"
    "77U(he^w}8uT=Xdgl`7!=_|DylZpAakxHV1oxeZisNeefA>K6fN<q*bI%WKtyN|MUK{qU`@-KxtGSRsMe{@ZSvRgZcpnhWsSK6f_OZMsxp*2s=V1"
    ">_Z2BaN#<T;U0?npL9?d@{<tW4@M*cN+e^VLQ-U8G6OAgGP#-jKTPzU8s$T7RAH(CJL)j?LVh%3S^z`ZFzuKQK$332l77qpW)S#l1T!w=%Iwfwi-"
    "0W~na#{LW(Tv6IS!OL|C2M{Df5<jACd;K-&rHDQs^}enB%Y>a3=|y`X_mcvc=hwY*`>s4Yn3rk8Qv<0~YlF7EJ*I&IKMVVpp>#|0j`N{)<U0hk;8"
    "Hr*I@>lM@;<5todM`bnv*A*XV4d4W|0xx!r0kXU88@<6T1TotYwSBt9y{A$8A<63ZSfMee&HUua(ikkq&odM2`;TCc0xsBYme^Ko!cRe)my^wBkA"
    ">UqeZ@Kr}r;u|P3s}MgYuE{ymkdV%_fq4u;O)#fD-bX*&W{V?qPRFNi>u)pxE?UE3+{${0T~D3F?bxFf|uZ3AtMjqL%_-7_#{3Hth|nI;@kKhFf$"
    "IU{{gsZ0XaQB9-n|u#;4~q^4a;~d>y_S--hqUkNHW{?=0QJ?*pD5;gA1d>Sg{a9}8rC$-m`U;UBtcf+2Xo*d#(SA+?ZJ$SmX)@(V?QxAlOy?Su|O"
    "7onFhNtp73y{m-Pz~A-4Mq!Jv4Jf=%I3OGnjtR$wv%+=Zrf?6q{7LvMAdwX%(Gndoo|sxp50ow|Ru-FxU4Ybc#YN&0aih3d+#y~RABj)IIPtZZUM"
    "eb8l-m4HV$Thkz39KFy;0f><lgp^-6y5f(s}9PzZm{RiUW?nlwOA{|15n4p0hHR1zC{^klg{c2XX>AksS4t@OkC@a#5gsd1ygZ<Z5yqxtZMJC-X;"
    "y)E^gee~LU!o)OZ2z8nJvSRyZzSIDd7-@pZ%<t_3yc^5e0P-uno@<lMiRr$JnQ;rP{5hp*FU&?Rg_wr{MD}o{^8aN}F5~ZY6(kkhdtV;gSA2pPAp"
    "+kCsMfxcNltIccWd!(S0vKhAG6SqKUs<KB1+yGb4k<^#FDI4r%FWO+9~41#R8LKyX8f0Jx`chLm)hrtb%v=Uz&vBraq0whiaHG(G*_JuZElIWEVR"
    ")!bq5$}4>;+7dPF@In(4fHQN5~OS7X&U^||^MOr;P)3}TUhBm--uC3#8y&|LLM1F%;U(u}kKhqVKXbt64UFVc?;2z@pQ+TsebimV2!ttT7FHgbR*"
    "BFDjSpU7vzQiD3+xbn0jtqfhV2CWCSYX!dRK?l*fbUs}I){CQ`!Fzc_^A!d6mDb8?<+aLM6|i7Et%24AT-ZkIq4fh7PSU1m)3lk|Y%NAxrLET1YX"
    "`LRTCDa+`=m*F>admO)br~3^`d%ty`o-CZ=ny-hlS=`qHomq>1TDvh%!<d>5XbeE2En+!H6|9^FJ+`5<Hszhez|91<k@{aqwwnvxZqK^l1n1X&18"
    "_G~GUCKQQYsbA&kx{5rv$Z^oF*%+2809p)Zr!3WIq=0)>**oHOB_~F~YN&wDHX{EN(S{bd(VBf-4QL8i<xSrL(YGgIDT3GF@9^m5v)+B4Dwc7g4+"
    "Grhs{`}cOwqQ$kV8^qQ*d^_Xc4fPjJpc@S#6D(Uv>%0reh-fRWPi55h8>$YnqxSQ<2ebOl;G`*VD92hS*N^H&uQQ^bJ{smoN3N%XSH(^Onwhs{>X"
    "`Qo;z=yuc6fgH>I21&FSWME4sbhe(o@LiM!Fg=w5bjx^eDHH_A&1t}pLx2G<`4)1UXQgX`~k51_|ee&A>K%YyH__yhbQ;QU4YGJl1?#oyuY@(+Oh"
    "KlnmGf&{@3XaI+T4?#*We~n13NRvo2XaM7W`d>yW(nI%0!1(!40aOGP1G|?+(WrW8_QqiJUT9Eg@zJ5fXQ4T00a}TEM?2A8bQm20YhM6Ut4w0Ba3"
    "&@nQ-CSLlmgSXVdjB5kA&8|%e-P3mJ9u8vNjvA@xYF$z>eR&Sca_(RvgR@1s9HCC$lrzZR{R)AGGr;V8Hh*!|_~duvRrNRc~%Mc<45VFpFiZVgp;"
    ")!x6Ad5nK$Hz@@<{(YO}wihF`j2H_!iG@b~3dkS8FWAGZhH?+wI{23?Y)A7alntWq0#a@0tSm8d;2$G-(reFj8a{&7b1N$orwS{Iv3t_M@R2U^p2"
    "j*`RjtbX=Kujg(6$^_c#VTTZaU3-64dONNrHCb6N+>0k(n*=5e!%So!0NTY=EKr`3Cn5Z>~eLvsoYCGC?AoJ0Rt5!sgheMtds<@wFi#PR<;4Vo+^"
    "@RtG=37EvnX5R{&jNRR<`Nl4K{*q%)ZaT(}HGh@vHE8#;&Xr)Maq@tUYfT0AYSRzqu~jnS6EJ@3&@XxFrtnyDw%3&RCh(`V{XsUQJ75}^UgKRcj_"
    "TogZSe<@HZlm?{>yI&q?eTAU+6@lhg9MVw+Re<(a71czwQGIBAol$q_dV|nlG#rhDt~VA<K$FpQG&AgaOVM&j%dcn)+K%?4qv!-Wjn1Mg=o-2SJ?"
    "{~Eg8o7u(HHnZDx)(dG`o1v=#n#Opv4u14)?ve)nMu}jhW_5OQr|Y7aH1VW-K#{S;cH+_CPB;z?^2zG8dU^(97cB&tk$ZCb2TBvXs@Ki&<<0(w2x"
    "#4?8eR*u{#l#h{CoX3MkD(8cPqjoDUg8@3lafE@%09M4W<CqXCsz7ZF*YuL4r$Gz+U_Aq;d{gXYzUScmpN4vwmhDOFgHoy0<2p1pvS4zlfdaejGt"
    "#Vv+*sxkdmzu`?!Y$#JaeKM_+!5{=cZR#c-GR>Z0aDCh4)Yj7gO#u|nb^iY4sbl26eq_i!rqh%I#WJe02hYNR2rAVm2eeY9oL55)C9N2gYhst5>L"
    "ic@l440Li{WK9dE@u!uE6!ABEm@9$&%Na4dcVor&Q^-r#L$ObPj<d|ti)^rbR<6}}<gh;PgH;s^0V_>uf%eht5lKgb^qd(vHKNvt3Xsz3!@u!M*Z"
    "Uq}cIDN0Bsq!F?Sd4wWDF`<M|UWgW|3XOzLLLXs(FbEdvBw@BN7kbiO;Rtl1Gr~FHl5knLBit1p3eSYU1x}Pj4SG>TOe<y<vx`N-W>j6QBQ_H|h<"
    "(Kg;zDt+xL-Uio)vFESh1u?hU7@T6i-SDt2Q^Zq*78Dshm_rswLHzno6yu_R?T!s5D9%FHM%_!0r7WF4_aqQRz=;L}#Td(v7h7IC5e+iJV6+A(xV"
    ")<u3AA=q+pECQrak-jyHAEHn_JSkOVDlvL0_azg(oq7+j~C}ovsr4F=@LCR=lYS=e^g^N85UE`8+PkF4oQ~p*M6|06CPfe+oRcolN)wb%Quq~WbW"
    "ug*FA|yV^ObV0Aq$b#Z44F$7ku_lZEo2Xv{tUTIT$-F_rG;rR@OvjZoW{_j^iPU33^#6QmX=6MqNUfeg5Aq#)wHHsb8WCTOdAD0pA0TvsqNFQYB#"
    "i}8l&^NsvF?(DtZ&}_AGsm{-67g{(S#S{NwJkgljK9D)_?&72)2iff4G$y*C6WG(jy<d${|qs3+=;`lEqx`$NGHW8v<n!sX8kH{J@g3M{b^ZARN*"
    "<$ZU>3Ap@=u<@?K?cYYR=ze(rap)y_4Fvdx7)AyLxJ-O-Npi4BHYN{Kh$#U!Db18&qM52pb*4VkkZB4eXvMT<+QNQo&vaxuGhLbPOi!ja&|w%eGU"
    "UT}W+F3*naoUO7BWkjb<75!#dc;Vvm1!9pE=ANWlk{{m`gy72O&3}GjCwYePX@>L3kjC&iWxUlCe>28sJ7|Hajf2d?7hX0XHhJRe>Az*oJI#wk6w"
    "^?aB6L`?CFiIBWv&V><BTpH;UU7_x!g%x-0Og<d<r9s-V>X3w%0fh4i)UG_fv7*^g3_8t2d`vrW*aUv%JS7^wUgg}-QTskfTmx;^5W#e*ixwt%B0"
    "j>~Nj4Q)cfJIjc>=+HJt}0iZtI5^nnsRNq_FPx4JJ@n0H=3Iadu|Rlk6Xws=9Y5HxnH?8+$L^2x0Bn=9p+8|k<P)gyTV<AZFh^i3(M{)EW2mi3+@"
    "&72DaTh?l10d?hE&g<3sCeSO-#Bz$!PSReYQnc$EUD!fAk4>2L;|31`9Ca1LNs9$;5~pjT1wb8#?qNnltRpjZW55l9w|s{+ev;F`d*x<Iu0xFK$Y"
    "8{?+98E%eS0^d5~&ae)<;=Z^a?vDoo?}mfZ$HGb+4`%<)y&3oyVBah}7tap~xCk%CEAeXJ;5s1TPGH~(d;th}1K+}T@Ll{6KgLgCK|aGT@GJZVf5"
    "hK_iz*-C<A+pC&Zp!vz?RI!XW?`3x%k|C9zGwRA6Qw0FTq#fEA!EORlYi3o39VtY{hrvdjL5H@`L%I{BWS>Xnrg|k)O&>=jZSX`KA1daEE?>)7uR"
    "T^bl;&W3WQc@R#@-{OypgPx$AsL*MbA_|N=T9to@<hOD)LwMm4eLJA?BkU_{KWC7Y{hh|a$dPymvj8I9aF4Tc-+CXRw4dtJO+EwT+^cMyS!-cWoQ"
    "k^FJ0t}uHi*<>xQdlQ!5H<<hh5fKp4+@8cKZO&*DIoJD;g)b8sQgrTF1!-Hgk;u5Q*=dNj4vh>6NyR16wr9mh}py(Vs0^ym`^Mq76M`y6HAEYV9i"
    "z$Yl`*7rebTcqu5RC4)h)*4iQHH!)J=K!}rLg;wo{qxK>;*{vqxZcZ)~GlR)<KuzGKcvEl>RzAwc$;ydx9_)U~06?&8jq>o7Pp-&|T+Gl`9m0ijq"
    "<(2YFg@OF#VIfzMs!6q_hCu%2Qd_Chk2lW#(hzAFIADx4QJOBzk`_v9q;=8;X_NGav{l+J?UYVPXJ8#)hIM>Hx+UF_?n)1($FPr|O3$Ph(i`cW^t"
    "bdy`X(_l2m6?p;Rnf7)@4(+Wmop)_;Nz<N0gjGPAO-RbAd<l$;IR{a#d(|wdMM9W4VpoQSL1d1g}hxf05_O3*?3JVtFZS;^nZ3*T}!i>*NjcCV8v"
    "8UEV40miNLkJ`DCbEuWFk$(Q6S@-<k;H{@IL9r-@^=&Ae+7V-=EmHZ}L$$!Zo<d5<v`HTDwDjcJ5iU`J%6;;s{7)Oe&xQeI5R}w0Tp<#Y^Sb8Ocl"
    "1a&;WK(h|d6axg0i_TatvDF1q*7Wbqm)xBf!V4mHNkETlqO13rM1!)I%#*MFYN3g%1GGQQ<dq;EM<<eKv}3PR+fVK)+rm5P0An2PGvvr?Ze73<xg"
    "1Lr<60w1@Pe&<%V)cxvxA_9)TI3K(BqKyii^#Z<M#nU&<Hdo5HEQDyX8Ws#MigQ%$O7QM0Kz)O>0IwUAm&Eu~gh8>-FKmax{pd$gn4S?#X&RC}xa"
    ")q(0zb+|fO9Sci+ygE^xuKuDfP#3Dp)s^aMb&a}C-Jot&x5HZBsqR+yf`RvggAb~Q)j!qa>IwCfdPY45-TH!hNxcH={Tl4|8|qE<mU>&gquy2Ts}"
    "IzN>SOhp`a*rD{-u6UKdOJLUsQ(hL<EnU#3p{|^5i51Nkh_+3?w7TM6!?^Bp2Ad1Sv(zkn*GgboM%=E@@1f!s>4hyT2tY|MsLKH2JQiJFNenq&Mk"
    "9`i5@+1IZvVm<%C9$#61)j3lGTXfl?JCsWCE@(Y<oW|KK&9*Kd*u$U|-E6FPID_ITg;dinQ8pH-z2AjxcXcAk=cCwS~BD=|6vY#9v2gxCFm>eNT$"
    "uZ~{C&)>1ikyb7ah9AT=g9?f5f;T2a+O>o*U1fXi`*fx<UV;o9+F4o33*E5$TRYsydrPNTk?+lMLv>G<Ztqsd?nuqq8#O^KqV?ul@dy+Ms;dXlUm"
    "fJ0gcdjG(Js06VgO9F-<~~(qzzYqG$@5il(7yX$G2wW~13@4w{qZqIqcku=$jrC21*InpU6{X(bv>tJ0dZHmy&a(blvrZBIMW&a?~dO1shSv?uLN"
    "`_R602pvgB)3J0sok*wBS#&O)M;Fk=bSYg<SJ0L8SGtb=LATOvbUWQichfy|FWm?G=>R=Q57EP6%Q{X^&{Om*y+AM1YxD-aNpI2H^bUPUU(na|Bm"
    "F|ZQdaxEw^WU4nr3Q_=4zhiYw@*&T4F7!mK-)%1}&48S<9kj({gA<prw`5Dri-;x>{rCYAv*uT5GMX)?VwVb=JB;cN?uugyuF?o372$=4cDGMX=t"
    "MYiqQ%+6Ha2_J_7r+YMW8zjjzVuAS1(XqRBs-OwIu&$JiXC+%<Tn<na#F6%^(=!x~@dOAI?o=-2J7u1XB#q?5o8NHldL9e7o>s9sYdQH8SUR$rL*"
    "VF6k4fV!)YrT!$Uhk-P*1PCk^=^81y{Fz=@2d~ghwCHt(fU|@f<957tS``G^o9CjeW|`oU!kwmSLv(u-}QC+dVPbwN#CLG(s%27^#l4r{jh#S|5H"
    "DqpVUw3=k+W4E&ZPUSbw5F)t~9F^f&rD{V)Ba{z?B^|Ez!2zv-O88<L?I#4rrU@C@GwjCe*uBe9Xp$YNwO@)(7TGDbP0k`ZmxH0m2ojaEh{qr1`5"
    "=x+=*MjE4yvBr2~qA|&sYD_bx8?%f##$02bvA|epEHzddtBp0rdgBjcr?K1EW9&Ch8Rv}i#vS9X@z8i|JTqPxuZ(xbd*dSvVbN4fVp`z~Rsu7Tnc"
    "7TiW;8RKIn2CfKC^&X$Sh)(3cm+cF{_!i%?4(p@XJtJv$NUN>~8in`<p|};pS*_tU2DCXihRGn^VkR%vt6fbD_D!TxtGlt}!>5Tg+|dE_080&^%@"
    "yH&2^q%^T(|^RD?g{G#;Md~g13B8#;IOR`)mVx_QBSsAS?Rt_tdmB%Vzm9r{Yb*;u$bE~D**6M6^wYpn9tlm~%YoImQ8e$E#hFc@7vDP?iyfx99Y"
    ")!SMTfbPdtU1;^Yk{@g+GK6Dwp)9x!`4yjgmuz7Wu3DwT9>RV)(z{nb>Dhwy|&(4pRKPJYhzosHQTTq+p_~ZzMa%gZl|&{*qOs`TDk4Kb|JgCUD7"
    "UVm$#$sDt1k~wq4h5YPYuA+U@O*c4xb*-QDhO_qF@mBkjrdRC|^^-;S}D*vsr+?X~uLd$Ya8-f8c*588+A^Y%sis(szQV?VGT*>U!B`;Gn4{$hW%"
    "zuCN_I=W*zz7uicJIS3WCykTI$>L;laya>%B2F=<gj32X<5X}eInhp4r@B+qsqNHt8amCK=1xnemDAd3>vVKFJH4I0&R}P#Gu#>NjCIC46P@YK9A"
    "}=h&{^*M?yPe*IGdb5oUP7wXTNjM`O`V)TySnXcb)srL+7dU!g=L<biO#eE4s3)xT*`I&DCAQHC@|{?<RDUyHRcmH<g>t&EjTrbGdokd~SZXfLq8"
    "d>=tp0xh35)Zh5zYTgi=ftGHF&>TXT9mRsAc<JNWSx%J%!ZbP@R+th95Hg{XPZQS;5N4Kln&F${?aC^GF-9Bz#x4%2k9qbNuhr1))@$O`Inmfat<"
    "IZyzyGz|=?n-x+yV_mj{_bva|8RG>JKeqRKKGz|$UW?ya?iNu+$-)~_rCkoedWG$Ke~UrU)--Q<ME#0>7MIFy!c*HFO8SZ%iv}5vUu6N99}Ljx0l"
    "Du=N0gZc*VRDUMa7PSI(>8RrD%((Oz}0rdP|W>(%!fdd<C-UTd$t*U{_h_4S5%<GtzLFWxL~j<>*D=q>fud4G6Yy=~t1pWieucvrpa-fb_|d+0s$"
    "UU;v(H{Mqd`PdhH)i-?0_x!+5=qK@$`zicXei}cmpU2PV7xatx#rzU}DZh+g)vx8(@$35y!*8Np{H}hVA1|e&{fYimf4V=%kNNRxy2fAcZ}hkL+x"
    "$QMGyWz2ihs+G_3!%k{fGWzKhA&VKlfkw?|d_`12^!4NDx0r9;67;1nGh-LAD@!kR!+y6bOn0#exz+$)HqFCa4fp3ZjF?LCc_R&>`p)bPf6j{ewZ"
    "l&|r8lA{ZHr3C0C8gSkOWurOF0EDKfytAgKxwZX=pUu=&A=Yk8trQk|%FL)3<3F3lR!TaDt@HzMza1k}4N34h&i62QGNfk*K$q>mB$rdRXDHf?5s"
    "q!B$y=@}hBRwO%BO@ZCBI6<xB2yzXBeNs(BQcTx142DZl>"
)
