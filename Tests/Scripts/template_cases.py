"""The templates of make_template_cases.py."""

CONTEXTS = [
    {
        "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>",
        "messages": [
            {"role": "system", "content": " Be brief. "},
            {"role": "user", "content": "Hi <b>&'\"</b>\nthere"},
            {"role": "assistant", "content": "Héllo ẞ ß ǆ", "tool_calls": [
                {"type": "function", "function": {"name": "f", "arguments": {"b": [1, 2.5, None, True], "a": "é\n"}}}]},
            {"role": "tool", "content": [{"type": "text", "text": "42"}, {"type": "image"}]},
        ],
        "tools": [{"type": "function", "function": {"name": "get", "description": "Gets <x> & y", "parameters": {
            "type": "object", "properties": {"x": {"type": "string", "enum": ["a", "b"]}, "items": {"type": "array"}},
            "required": ["x"]}}}],
        "documents": None, "add_generation_prompt": True,
        "n": 7, "m": -7, "x": 2.5, "z": 0, "t": True, "f": False, "nothing": None, "big": 9007199254740993,
        "s": "Hello, World", "e": "", "w": "  pad\t\n", "u": "Straße ΑΣ ǅ ﬁ İı", "html": "<a href=\"x\">1 &amp; 2</a>",
        "l": [3, 1, 2], "ll": [[1, 2], [3]], "names": ["bob", "Alice", "carol", "alice"], "mixed": [1, "a", None],
        "d": {"b": 1, "a": 2, "C": 3}, "nested": {"a": {"b": [{"c": "deep"}]}}, "items": {"items": 1, "keys": "k"},
        "people": [{"name": "Bo", "age": 30, "city": "B"}, {"name": "al", "age": 25, "city": "a"},
                   {"name": "Cy", "age": 30, "city": "A"}, {"name": "Di"}],
        "text": "The quick brown-fox jumps over the lazy dog.\n\nIt was well-known, wasn't it -- or not?",
        "emoji": "a👩‍👩‍👧é́", "ctrl": "a\tb\u0001\u007f\u00a0\u200b\u2028'\"",
    }
]

EXPRESSIONS = r"""
1 + 2
7 // 2
-7 // 2
7 % -3
m % 3
m // 2
7 / 2
1 / 0
1 // 0
1 % 0
1.5 // 0
2 ** 10
2 ** -1
2 ** 0.5
(-8) ** 0.5
0 ** -1
-2 ** 2
2 ** 3 ** 2
9223372036854775807
0x1F
0b101
0o17
1_000
00
1e3
1.5e-7
1e16
1e15
123456789012345678.0
0.1 + 0.2
1e-4
1e-5
1e22
100.0
-0.0
1.0
3.14 // 1
-3.5 % 2
7.5 % -2
5 // -2.0
1e308 * 10
true + 1
true == 1
1 == 1.0
'1' == 1
none == false
'a' + 'b'
'a' + 1
'ab' * 3
3 * 'ab'
'ab' * -1
[1] * 2
[1, 2] + [3]
(1,) + (2, 3)
[1] + (2,)
'a' ~ 1 ~ none ~ true ~ 1.5 ~ [1]
missing ~ 'x'
1 < 2 < 3
1 < 3 < 2
1 < 'a'
'a' < 'b'
'B' < 'a'
[1, 2] < [1, 3]
(1, 2) < (1, 2, 0)
1 in [1, 2]
3 not in [1, 2]
'a' in 'cat'
1 in 'cat'
'b' in d
1 in d
'x' in missing
1 in 5
not true
not not ''
true and 'x'
'' or 'y'
0 and missing.x
false or missing
1 if true
1 if false
1 if false else 2
(1 if false) is defined
missing
missing.x
missing['x']
missing()
missing + 1
missing == missing
missing == none
missing is defined
missing is undefined
missing | default('d')
missing | d
nothing | default('d')
nothing | default('d', true)
'' | default('d', boolean=true)
missing | length
missing | list
missing | string
missing | upper
missing | first
missing | join
missing | tojson
missing | int
missing < 1
-missing
missing | items | list
none
none.x
none.x.y
none['x']
[none, true, 1, 1.0, 'a', "it's", 'q"q', "b\\s", missing]
(1,)
()
(1, 2)
{}
{'a': 1, 'b': [1, {'c': none}]}
{1: 2, none: 3, true: 4, 1.5: 5, (1, 2): 6}
{[1]: 2}
{'a': 1, 'a': 2}
['\n\t\r\\', 'é', '\x01', '\u200b', '\U0001F600']
'\x41\u00e9\101\a\b\f\v\
x\q'
'a' 'b' "c"
'\N{BULLET}'
'\ud83d'
'\xZZ'
'é\é'
ctrl
[ctrl]
emoji | length
emoji[::-1]
emoji[1]
s[0]
s[-1]
s[99]
s[1:4]
s[:-3]
s[::2]
s[::-1]
s[10:2:-3]
s[5:1]
s[::0]
s['upper']()
l[0]
l[-1]
l[5]
l[5] is defined
l[1:]
l[::-1]
l['x']
l[1.0]
l[true]
l[-1:-3:-1]
l[none:2]
l['a':]
(1, 2, 3)[1:]
d[1:2]
nothing[1:]
5[1:]
d.a
d['a']
d.missing
d.missing.x
d['missing'] | default('q')
d.keys()
d.values()
d.items()
d.keys() | list
d.items() | list
d.get('a')
d.get('zz')
d.get('zz', 5)
d.get()
d.get([1])
d.copy()
d.update({'q': 1})
d.pop('a')
d.pop
d.setdefault('a', 1)
d.clear()
d.__class__
d.__class__.__mro__
d._x
d['__class__']
''.__class__.__mro__
d.fromkeys(['a', 'b'], 1)
{}.fromkeys('ab')
d | length
d.items
items.items
items.items()
items['items']
items.keys
items['keys']
nested.a.b[0].c
nested.a.b.0.c
nested['a']['b'][-1]['c']
l.append(4)
l.append
l.sort()
l.reverse()
l.index(2)
l.index(9)
l.index(2, 0, 1)
l.count(1)
l.copy()
l.extend([1])
(1, 2, 1).count(1)
(1, 2, 1).index(2)
(1).bit_length()
(2.0).is_integer()
x.is_integer()
n.real
n.numerator
n.foo
x.foo
s.upper()
s.lower()
s.title()
s.capitalize()
s.swapcase()
s.casefold()
u.upper()
u.lower()
u.title()
u.capitalize()
u.swapcase()
u.casefold()
'ΟΔΟΣ ΑΣ.'.lower()
w.strip()
w.lstrip()
w.rstrip()
s.strip('Hd')
s.lstrip('He')
s.rstrip('dl')
s.strip(none)
s.strip(1)
s.split()
s.split(',')
s.split(', ', 1)
'a,b,c,d'.split(',', 2)
'a,b,c,d'.rsplit(',', 2)
'a,b,c,d'.split(',', maxsplit=1)
'a,b,c,d'.split(sep=',')
' a  b  c '.split(none, 1)
' a  b  c '.rsplit(none, 1)
' a  b  c '.split(maxsplit=0)
'a'.split('')
''.split()
''.split(',')
'a b'.split(' ')
'a\nb\r\nc\x0bd\u2028e'.splitlines()
'a\nb\n'.splitlines(true)
'a\nb\n'.splitlines(keepends=true)
''.splitlines()
'a-b-c'.partition('-')
'a-b-c'.rpartition('-')
'abc'.partition('-')
'abc'.rpartition('-')
'abc'.partition('')
'aaa'.replace('a', 'b')
'aaa'.replace('a', 'b', 2)
'abc'.replace('', '-')
'abc'.replace('', '-', 2)
'abc'.replace('b', '')
'abc'.replace('b')
'abc'.replace('b', 1)
'-'.join(['a', 'b'])
'-'.join([1, 2])
'-'.join('abc')
'-'.join(d)
'-'.join([])
s.find('o')
s.find('o', 5)
s.find('zz')
s.find('o', 0, 3)
s.find('')
s.find('', 99)
s.rfind('o')
s.index('o')
s.index('zz')
s.rindex('l')
s.count('l')
s.count('')
s.count('l', 3, 5)
'aaaa'.count('aa')
s.startswith('He')
s.startswith(('x', 'He'))
s.startswith('l', 2)
s.startswith('')
s.startswith(['He'])
s.endswith('ld')
s.endswith('ld', 0, 5)
s.endswith(('a', 'd'))
'prefix'.removeprefix('pre')
'prefix'.removeprefix('x')
'prefix'.removesuffix('fix')
'ab'.center(7)
'ab'.center(7, '*')
'abc'.center(8, '-')
'abc'.center(6, '-')
'ab'.ljust(5) ~ '|'
'ab'.rjust(5, '.')
'ab'.rjust(5, '..')
'42'.zfill(5)
'-42'.zfill(5)
'+4'.zfill(1)
'a\tb'.expandtabs()
'a\tb\tc'.expandtabs(4)
'ab\tc\nd\te'.expandtabs(tabsize=3)
'abc'.isalpha()
'ab1'.isalnum()
'123'.isdigit()
'²'.isdigit()
'²'.isdecimal()
'½'.isnumeric()
'½'.isdigit()
'٣'.isdecimal()
'Abc'.istitle()
'Abc Def'.istitle()
'ABc'.istitle()
'abc'.islower()
'ABC1'.isupper()
'1'.isupper()
' \t'.isspace()
''.isspace()
'abc'.isidentifier()
'1abc'.isidentifier()
'a b'.isprintable()
'a\n'.isprintable()
'é'.isascii()
'abc'.isascii()
'abc'.encode()
'abc'.translate({97: 'X', 98: none})
'abc'.translate('abc'.maketrans('ab', 'xy', 'c'))
'abc'.maketrans({'a': 'b'})
'{} {}'.format(1, 'a')
'{0} {1} {0}'.format(1, 2)
'{a}-{b}'.format(a=1, b='x')
'{} {0}'.format(1)
'{}'.format()
'{x}'.format()
'{{}} {}'.format(5)
'{'.format()
'}'.format()
'{:>5}|{:<5}|{:^5}|'.format('a', 'b', 'c')
'{:*^9}'.format('mid')
'{:05d}'.format(42)
'{:+d} {: d}'.format(5, 5)
'{:x} {:X} {:#x} {:b} {:o} {:#b}'.format(255, 255, 255, 5, 8, 5)
'{:,}'.format(1234567)
'{:_}'.format(1234567)
'{:010,}'.format(1234)
'{:08,}'.format(1234)
'{:.2f}'.format(3.14159)
'{:8.3f}|'.format(3.14159)
'{:e}'.format(12345.678)
'{:.3g} {:g} {:g}'.format(1234.5, 0.0001, 1e10)
'{:%}'.format(0.25)
'{:.1%}'.format(0.256)
'{:.3}'.format(12.0)
'{:.3}'.format(123.0)
'{:.3}'.format(1234567.0)
'{:.5}'.format('abcdefgh')
'{:c}'.format(65)
'{:d}'.format(1.5)
'{:d}'.format('a')
'{:s}'.format(1)
'{:5}|{:<5}|'.format(1, 1)
'{:=+6}'.format(5)
'{:>8}'.format(true)
'{:d}'.format(true)
'{}'.format(none)
'{:>5}'.format(none)
'{!r} {!s} {!a}'.format('é', 'é', 'é')
'{0[a]} {0.a}'.format(d)
'{0[0]} {1[b]}'.format(l, d)
'{0.__class__}'.format(1)
'{:{}}|'.format('a', 5)
'{:{w}}|'.format('a', w=4)
'{a[b}'.format(a=d)
'{:,.2f}'.format(1234567.891)
'{:+.1e}'.format(0)
'{:#.3g}'.format(1)
'{:<06}'.format(5)
'{:06}'.format('ab')
'{:z}'.format(1)
'{a} {b}'.format_map({'a': 1, 'b': 2})
'{a}'.format_map(1)
'%s is %d' % ('a', 5)
'%s' % 'a'
'%s' % 5
'%s' % [1]
'%s %s' % 'a'
'%s' % ('a', 'b')
'x' % 5
'x' % ()
'x' % [1]
'%(a)s %(b)s' % d
'%(zz)s' % d
'%5s|%-5s|' % ('a', 'b')
'%05d %+d % d' % (42, 42, 42)
'%x %X %o %#x' % (255, 255, 8, 255)
'%.2f %e %g %G' % (3.14159, 1234.5, 0.00001, 1e20)
'%5.1f|%-8.2f|' % (3.14159, 2.5)
'%c%c' % (65, 'b')
'%r %s %a' % ('é', 'é', 'é')
'%d' % 3.9
'%d' % 'a'
'%i' % true
'%%' % ()
'%5%' % ()
'%*d' % (5, 42)
'%.*f' % (1, 2.55)
'%.3s' % 'abcdef'
'%.3d' % 7
'%q' % 1
'%' % 1
'%s' % none
'%s' % missing
'%s' % (1.0,)
'%#.3g' % 1.0
'%ld' % 5
'%f' % 1e300
range(5)
range(5) | list
range(2, 8, 3) | list
range(5, 0, -2) | list
range(0, 9, 0)
range(0)
range(3)[1]
range(3)[-1]
range(10)[2:5]
range(10)[::-2]
range(10)[::-2] | list
range(100000) | length
range(100001) | length
range('a')
range()
range(1, 2, 3, 4)
3 in range(5)
range(3) == range(0, 3)
range(3) | sum
dict(a=1, b=2)
dict([('a', 1), ('b', 2)])
dict({'a': 1}, b=2)
dict([1])
dict.fromkeys('ab', 0)
namespace(a=1)
namespace({'a': 1}, b=2).b
namespace(a=1).a
namespace(a=1)['a']
namespace(_a=1)
namespace().x
namespace(items=1).items
cycler('a', 'b').next()
cycler()
joiner()()
joiner('|').sep
strftime_now('%Y-%m-%d')
strftime_now('%d %b %Y')
strftime_now('%A, %B %-d, %Y %H:%M:%S %p %I %j %y %U %W %w %u %a %e %D %F %T %R %G %V %C %h %n %t %%')
strftime_now('%c|%x|%X|%r|%f')
strftime_now()
strftime_now is defined
raise_exception('no')
raise_exception()
bos_token ~ eos_token ~ pad_token ~ unk_token
sep_token is defined
l | sort
l | sort(reverse=true)
names | sort
names | sort(case_sensitive=true)
names | sort(true)
mixed | sort
d | sort
'hello' | sort
people | sort(attribute='age')
people[:3] | sort(attribute='age,name') | map(attribute='name') | list
people[:3] | sort(attribute='city') | map(attribute='name') | join
people[:3] | sort(attribute='age', reverse=true) | map(attribute='name') | join
d | dictsort
d | dictsort(true)
d | dictsort(false, 'value')
d | dictsort(by='value', reverse=true)
d | dictsort(by='x')
people[:3] | groupby('age')
people[:3] | groupby('city') | map(attribute='grouper') | list
people[:3] | groupby('city', case_sensitive=true) | map('first') | list
people | groupby('age', default=0) | map('first') | list
(people[:3] | groupby('age'))[0].list | length
(people[:3] | groupby('age'))[0]['grouper']
people | map(attribute='name') | join(', ')
people | map(attribute='age', default=0) | list
people | map(attribute='age') | list
people | map(attribute='age') | join
names | map('upper') | list
names | map('replace', 'a', 'o') | join(' ')
names | map('nofilter') | list
names | map | list
names | map(attribute='upper', x=1) | list
ll | map('first') | list
ll | map('join', '-') | list
[1, 2, 3, 4] | select('even') | list
[1, 2, 3, 4] | select('divisibleby', 3) | list
[1, 2, 3, 4] | reject('odd') | list
[0, 1, '', 'a', none] | select | list
[0, 1, '', 'a', none] | reject | list
[1, 2, 3] | select('>', 1) | list
[1, 2, 3] | select('lessthan', 3) | list
[1, 2, 3] | select('notest') | list
people | selectattr('age') | map(attribute='name') | list
people | selectattr('age', 'eq', 30) | map(attribute='name') | list
people | selectattr('age', '==', 30) | map(attribute='name') | list
people | selectattr('age', 'defined') | list | length
people | rejectattr('age') | map(attribute='name') | list
people | rejectattr('age', 'equalto', 30) | map(attribute='name') | list
people | selectattr('age', 'gt', 26) | list
messages | selectattr('role', 'in', ['user', 'tool']) | map(attribute='role') | join(',')
messages | selectattr('role', 'equalto', 'system') | list | first
messages | rejectattr('role', 'ne', 'user') | map(attribute='content') | first
messages | selectattr('tool_calls', 'defined') | list | length
messages | map(attribute='role') | unique | list
names | unique | list
names | unique(true) | list
[1, 1.0, true, 2] | unique | list
people[:3] | unique(attribute='age') | map(attribute='name') | list
[[1], [1]] | unique | list
l | min
l | max
[] | min
[] | max is defined
names | min
names | max(case_sensitive=true)
people[:3] | max(attribute='age') | tojson
mixed | max
l | sum
[] | sum
[1.5, 2] | sum
l | sum(start=10)
people[:3] | sum(attribute='age')
people[:3] | sum('age', 100)
names | sum
[[1], [2]] | sum(start=[])
l | first
l | last
[] | first
[] | last
s | first
s | last
d | first
d | last
range(3) | last
(l | map('abs')) | first
(l | map('abs')) | last
(l | map('abs')) | length
(l | map('abs')) | list | length
l | length
s | count
5 | length
none | length
l | join
l | join(', ')
l | join(d=', ')
names | join('|', 'upper')
people | join(', ', attribute='name')
people | join(', ', 'age')
none | join
5 | join
'abc' | join('-')
d | join(',')
l | reverse | list
'abc' | reverse
d | reverse | list
(1, 2) | reverse | list
5 | reverse
d | items | list
none | items
l | list
'abc' | list
5 | list
d | list
[1, 2, 3, 4, 5] | batch(2) | list
[1, 2, 3, 4, 5] | batch(2, 'x') | list
[1, 2] | batch(0) | list
[1, 2, 3] | batch(-1) | list
[1, 2, 3, 4, 5] | slice(2) | list
[1, 2, 3, 4, 5] | slice(3, 'x') | list
[1, 2] | slice(3) | list
[1, 2] | slice(0) | list
s | upper
s | lower
5 | upper
none | lower
s | capitalize
'hello wORLD-foo (bar) [baz] <x> {y}' | title
u | title
' x ' | trim
'xxaxx' | trim('x')
5 | trim
'ab' | center(6) ~ '|'
'ab' | center | length
s | replace('o', '0')
s | replace('o', '0', 1)
s | replace('l', 1)
5 | replace(5, 6)
s | replace('o')
text | truncate(20)
text | truncate(20, true)
text | truncate(20, true, '…')
text | truncate(20, false, '', 0)
'short' | truncate(4)
'short' | truncate(2)
text | truncate(length=30, end='!')
l | truncate
text | wordwrap(20)
text | wordwrap(10)
text | wordwrap(7, false)
text | wordwrap(12, true, '|')
text | wordwrap(9, break_on_hyphens=false)
'abcdefghijkl-mnop qr' | wordwrap(5)
'a  b   c' | wordwrap(3)
'' | wordwrap(5)
'x' | wordwrap(0)
text | wordcount
'a_b c-d é' | wordcount
'a\nb\n\nc' | indent
'a\nb\n\nc' | indent(2)
'a\nb\n\nc' | indent(2, true)
'a\nb\n\nc' | indent(width='> ', first=true, blank=true)
'' | indent(2, true)
5 | indent
'42' | int
'42.7' | int
' 42 ' | int
'x' | int
'x' | int(7)
'0x1F' | int(0, 16)
'1F' | int(base=16)
'0b11' | int(0, 2)
'1_000' | int
3.9 | int
-3.9 | int
none | int
true | int
[] | int(5)
'1e3' | int
'inf' | int
'nan' | int
1e308 * 10 | int
'3.5' | float
'x' | float
'x' | float(1.5)
'1e5' | float
'inf' | float
'nan' | float
' -inf ' | float
'1_0.5' | float
'1.e2' | float
'.5' | float
'5.' | float
'.' | float
5 | float
none | float
42.55 | round
42.55 | round(1)
42.55 | round(1, 'floor')
42.51 | round(0, 'ceil')
2.5 | round
3.5 | round
-2.5 | round
2.675 | round(2)
1234 | round(-2)
1250 | round(-2)
1350 | round(-2)
7 | round
7 | round(1, 'floor')
'x' | round
2.5 | round(method='x')
1.15 | round(1, 'ceil')
12345.678 | round(-2)
-5 | abs
-5.5 | abs
true | abs
'x' | abs
1 | filesizeformat
999 | filesizeformat
1000 | filesizeformat
1500000 | filesizeformat
1500000 | filesizeformat(true)
1e30 | filesizeformat
'2048' | filesizeformat(binary=true)
0 | filesizeformat
html | escape
html | e
html | e | e
html | forceescape
html | e | forceescape
html | striptags
'<p>a  <!-- x --> b</p> &lt;c&gt; &eacute;&amp;&#65;&#x42;&amp' | striptags
html | safe
(html | safe) ~ '<'
(html | safe) + '<'
'<' + (html | safe)
(html | safe) * 2
[html | safe]
(html | e) is escaped
html is escaped
('%s' | safe) % '<'
('{}' | safe).format('<')
('<' | safe).join(['&', 'a'])
('a&b' | e).split('&amp;')
('<a>x</a>&lt;' | safe).striptags()
('&lt;' | safe).unescape()
('a' | safe).replace('a', '<')
('<' | safe) | upper
('<' | safe) | string is escaped
5 | e
none | e
'a b/c?d=é&f' | urlencode
{'a b': 'c/d', 'e': 1} | urlencode
[('a', 1), ('b', 'x y')] | urlencode
5 | urlencode
'~-_.' | urlencode
{'class': 'a"b', 'id': none, 'x': 1, 'y': missing} | xmlattr
{'class': 'a'} | xmlattr(false)
{'a b': 1} | xmlattr
{} | xmlattr
'see http://example.com/a?b=1 and www.x.org, (https://y.net) <z@w.com> foo' | urlize
'http://example.com/averylongpath' | urlize(15)
'http://example.com' | urlize(nofollow=true, target='_blank', rel='me')
'example.com foo.bar a@b.c mailto:x@y.zz http://localhost http://1.2.3.4:80/x' | urlize
'tel:123' | urlize(extra_schemes=['tel:'])
'x' | urlize(extra_schemes=['t'])
d | pprint
s | pprint
tools | pprint
text | pprint
people | pprint
[text, text] | pprint
range(40) | list | pprint
{'k': text} | pprint
'%s and %s' | format('a', 'b')
'%(x)s' | format(x=5)
'%s' | format(1, x=2)
'%d' | format('x')
5 | string ~ '!'
l | string
d | attr('keys')
d | attr('a')
d | attr('a') is defined
s | attr('upper')() 
items | attr('nope')
tools | tojson
messages | tojson
tools | tojson(indent=2)
tools | tojson(indent=4)
tools | tojson(indent='--')
[] | tojson(indent=2)
{} | tojson(indent=2)
[1, [2, []], {}] | tojson(indent=1)
d | tojson(sort_keys=true)
d | tojson(separators=(',', ':'))
d | tojson(indent=2, separators=(', ', '='))
'é<>&\'"\n\x01\u2028😀' | tojson
'é😀' | tojson(ensure_ascii=true)
[1.0, 1e100, 1e-7, none, true] | tojson
('nan' | float) | tojson
('inf' | float) | tojson
{1: 'a', none: 'b', true: 'c', 1.5: 'd'} | tojson
{(1, 2): 3} | tojson
(1, 2) | tojson
range(3) | tojson
d.items() | tojson
namespace(a=1) | tojson
{'b': 1, 1: 2} | tojson(sort_keys=true)
html | safe | tojson
s | random
l | random
lipsum()
3 is odd
3 is even
0 is even
'a' is odd
2.0 is even
6 is divisibleby 3
6 is divisibleby(4)
6 is divisibleby(0)
x is defined
none is none
none is not none
1 is boolean
true is boolean
false is false
0 is false
true is true
1 is true
1 is integer
true is integer
1.0 is integer
1.0 is float
1 is float
1 is number
true is number
'1' is number
'abc' is lower
'ABC' is upper
5 is lower
s is string
(s | e) is string
1 is string
d is mapping
l is mapping
namespace() is mapping
l is sequence
s is sequence
d is sequence
d.keys() is sequence
5 is sequence
missing is sequence
range(3) is sequence
(l | map('abs')) is sequence
l is iterable
5 is iterable
missing is iterable
(l | map('abs')) is iterable
range is callable
s is callable
missing is callable
s.upper is callable
l is sameas l
none is sameas none
1 is sameas true
1 is in [1, 2]
1 is not in [1, 2]
1 is eq 1
1 is equalto 2
1 is ne 2
1 is gt 0
1 is greaterthan 0
1 is ge 1
1 is lt 0
1 is lessthan 2
1 is le 1
1 is '==' 1
'upper' is filter
'nofilter' is filter
'odd' is test
'notest' is test
[] is filter
1 is notest
1 | nofilter
1 if false else (2 | nofilter if false else 3)
1 is odd and 2 is even
1 is not odd
not 1 is odd
1 is odd is even
1 + 1 is even
'a' is string ~ 'x'
-1 | abs
(-1) | abs
- 1 | abs
2 * 3 | string
1 ~ 2 * 3
[1, 2,]
[,]
{'a': 1,}
(1, 2,)
{'a' 1}
d.a.b.c
d.a if d.a else 'q'
l[0] + l[1] * l[2]
foo.bar(
'a' | upper | lower | title
'a,b' | replace(',', '\n')
'abc'[1:] | upper
[1, 2][0]
{'a': {'b': 5}}['a'].b
{'a': 1} == {'a': 1.0}
[1] == (1,)
(l | list) == l
'abc' > 'abd'
true > false
none < 1
nothing is none and not nothing
1 and 2 and 3
0 or none or 'x'
(1, 2)[5] is defined
'é' == 'é'
'ab' < 'abc'
s.upper
u[::-1].upper()
d.items() | map('first') | list
d.values() | sum
d.keys() | sort | join
(d | dictsort)[0][1]
people[0].name.upper()[0]
[[1, 2], [3, 4]] | map('sum') | list
[['a', 1]] | map('last') | list
['a', 'b'] | map('indent', 2, true) | list
['1', '2'] | map('int') | sum
[3, 1] | map('string') | sort | join(',')
names | map('length') | list
names | select('in', ['bob']) | list
{'a': [1, 2]} | tojson | length
dict(d, **{'z': 9})
dict(**d)
'{} {}'.format(*[1, 2])
'{a}'.format(**{'a': 1})
dict(a=1, a=2)
s.split(*[', '])
9223372036854775807 - 1
-9223372036854775807 - 1
0.1
1.1 * 3
1/3
2/3
10/5
1e100
123456.789e3
5e-324
1.7976931348623157e308
100 * 1.1
""".strip("\n")

TEMPLATES = r"""
{% for i in l %}{{ i }}{% endfor %}
{% for i in l %}{{ loop.index }}/{{ loop.length }}{% if not loop.last %}, {% endif %}{% endfor %}
{% for i in l %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}
{% for i in l %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }}|{% endfor %}
{% for i in l %}{{ loop.cycle('a', 'b') }}{% endfor %}
{% for i in [1,1,2,2] %}{{ loop.changed(i) }} {% endfor %}
{% for i in l %}{{ loop }}{% endfor %}
{% for i in l %}{{ loop|length }}{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}
{% for k, v in d|dictsort %}{{ k }}{{ v }}{% endfor %}
{% for k in d %}{{ k }}{% endfor %}
{% for a, b in [[1, 2], [3]] %}{{ a }}{% endfor %}
{% for a, (b, c) in [[1, [2, 3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for c in 'abc' %}{{ c }}.{% endfor %}
{% for i in missing %}x{% else %}none{% endfor %}
{% for i in none %}x{% endfor %}
{% for i in 5 %}x{% endfor %}
{% for i in [] %}x{% else %}empty{% endfor %}
{% for i in l if i > 1 %}{{ i }}{{ loop.index }}{{ loop.length }}{% endfor %}
{% for i in l if i > 9 %}{{ i }}{% else %}no{% endfor %}
{% for i in l if loop.index %}{{ i }}{% endfor %}
{% for i in l %}{% if i == 1 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for i in l %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}
{% for i in l %}{% continue %}{% else %}E{% endfor %}
{% for i in l %}{{ i }}{% break %}{% else %}E{% endfor %}
{% break %}
{% for i in l %}{% set y %}{% break %}{% endset %}{% endfor %}x
{% for i in l %}{% macro q() %}{% break %}{% endmacro %}{% endfor %}
{% for i in l %}{% generation %}{% break %}{% endgeneration %}{% endfor %}
{% set q = 1 %}{% for i in l %}{% set q = q + i %}{{ q }}{% endfor %}{{ q }}
{% set ns = namespace(q=1) %}{% for i in l %}{% set ns.q = ns.q + i %}{% endfor %}{{ ns.q }}{{ ns }}
{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}
{% set ns = 5 %}{% set ns.a = 1 %}
{% set ns = namespace() %}{% set ns._a = 1 %}
{% set d.q = 1 %}
{% set a, b = 1, 2 %}{{ a }}{{ b }}
{% set a = 1, 2 %}{{ a }}
{% set a, b = [1, 2, 3] %}
{% set (a, b) = 'xy' %}{{ b }}{{ a }}
{% set a %}x{{ 1 + 1 }}{% endset %}{{ a }}{{ a|length }}
{% set a | upper %}abc{% endset %}{{ a }}
{% set a | replace('a', 'b') | upper %}abc{% endset %}{{ a }}
{% set a %}{% set b = 1 %}{% endset %}{{ b is defined }}
{% set loop = 1 %}{{ loop }}
{% for loop in l %}{% endfor %}
{% set true = 1 %}
{% set 1 = 1 %}
{% if true %}{% set q = 5 %}{% endif %}{{ q }}
{% if false %}a{% elif 0 %}b{% elif 1 %}c{% else %}d{% endif %}
{% if missing %}a{% else %}b{% endif %}
{% if 1, 0 %}tuple{% endif %}
{% if missing.x %}a{% endif %}
{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=4, a=5) }} {{ m() }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(c=2) }}
{% macro m(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}
{% macro m(a, b) %}{{ a is defined }}{{ b is defined }}{% endmacro %}{{ m(1) }}
{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(7) }}
{% macro m(a=1, b) %}{% endmacro %}
{% macro m() %}{{ q }}{% endmacro %}{% set q = 3 %}{{ m() }}
{% macro m() %}{{ messages|length }}{% endmacro %}{{ m() }}
{% for i in l %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}
{% macro f(k) %}{% if k > 0 %}{{ k }}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(5) }}
{% macro m() %}{{ caller() }}!{% endmacro %}{% call m() %}body{% endcall %}
{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{ a }}+{{ b }}{% endcall %}
{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}
{% macro m() %}x{% endmacro %}{% call m() %}{% endcall %}
{% macro m(x) %}{{ caller(x) }}{% endmacro %}{% for i in l %}{% call(y) m(i) %}{{ y }}{{ i }}{% endcall %}{% endfor %}
{% macro m(a, b=2) %}{% endmacro %}{{ m }}{{ m.name }}{{ m.arguments }}{{ m.catch_kwargs }}{{ m.catch_varargs }}{{ m.caller }}
{% call foo %}{% endcall %}
{% macro m() %}a{% endmacro %}{{ m()|upper }}{{ m() ~ 'x' }}{{ m() is string }}
{% macro m() %} x {% endmacro %}[{{ m()|trim }}]
{% macro m(x) %}{% if x is mapping %}{% for k in x %}{{ k }}:{{ m(x[k]) }},{% endfor %}{% else %}{{ x }}{% endif %}{% endmacro %}{{ m(nested.a) }}{{ m(tools[0].function) }}
{% for x in [[1, [2]], [3]] recursive %}({% if x is number %}{{ x }}{% else %}{{ loop(x) }}{% endif %}){% endfor %}
{% for x in ll recursive %}{{ loop.depth }}{{ loop.depth0 }}{% if x is iterable %}{{ loop(x) }}{% endif %}{% endfor %}
{% for x in l %}{{ loop(x) }}{% endfor %}
{% for i in l %}{% for j in ll %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}
{% filter upper %}a{{ s }}{% endfilter %}
{% filter replace('a', 'b') | upper %}banana{% endfilter %}
{% filter nofilter %}{% endfilter %}
{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}
{% set a = 5 %}{% with a = 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q is defined }}
{% autoescape true %}{{ html }}{{ html|safe }}{{ '<' ~ html|safe }}{% endautoescape %}{{ html }}
{% autoescape true %}{% set a %}<{{ '<' }}{% endset %}{{ a }}{{ [html, '<'|safe]|join('&') }}{{ html|replace('a', '<') }}{% endautoescape %}
{% block a %}x{{ s }}{% endblock %}{{ self.a() }}
{% block a %}{% endblock %}{% block a %}{% endblock %}
{% block a %}x{% endblock a %}y
{% for i in l %}{% block b scoped %}{{ i }}{% endblock %}{% endfor %}
{% for i in l %}{% block b %}{{ i is defined }}{% endblock %}{% endfor %}
{% block a required %}{% endblock %}
{{ self.nope() }}
{{ super() }}
{% raw %}{{ x }}{% if %}{% endraw %}!
{% raw -%} a {%- endraw %} b
a {%- raw %} b {% endraw -%} c
{% raw %}
x
{% endraw %}
y
{% raw %}
{# a #}b
a{#- c -#} b
{# unfinished
{%- if true -%} x {%- endif -%} y
  {% if true %}
  x
  {% endif %}
y
  {%+ if true %}x{% endif +%}
y
a
    {{ 1 }}
b
a   {{- 1 -}}   b
{{ 1 }}
{{ 2 }}
{% set a = 1 %}
{% set b = 2 %}
{{ a }}{{ b }}
	{% if true %}	x	{% endif %}	
{% if true %}{% if false %}{% endif %}
{% endif %}
{% foo %}
{% do l.append(1) %}
{% debug %}
{% trans %}x{% endtrans %}
{% include 'x' %}
{% include 'x' ignore missing %}
{% if false %}{% include 'x' %}{% endif %}ok
{% import 'x' as y %}
{% from 'x' import y %}
{% extends 'x' %}
{% print 1, 2 %}
{% if false %}{{ 1|nofilter }}{% endif %}ok
{% if false %}{{ 1 is notest }}{% endif %}ok
{% if true %}{{ 1|nofilter }}{% endif %}
{% if false %}{% for i in l %}{{ 1|nofilter }}{% endfor %}{% endif %}ok
{{ 1 if true else 2|nofilter }}
{% if true: %}x{% endif %}
{% for i in l: %}{{ i }}{% endfor %}
{% generation %}{{ s }}{% endgeneration %}!
{% generation %}{% set q = 1 %}{% endgeneration %}{{ q is defined }}
{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% endif %}{% endfor %}
{%- for m in messages %}{{ '<|' + m['role'] + '|>' }}{{ m['content'] if m.content is string else m.content|tojson }}{{ eos_token }}{% endfor %}
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set sys = messages[0].content|trim %}{% endif %}[{{ sys }}]{{ rest|length }}
{% for m in messages %}{{ (m.role == 'user') != (loop.index0 % 2 == 0) }}{% endfor %}
{% for m in messages[::-1] %}{{ m.role }} {% endfor %}
{% for t in tools %}{{ t | tojson }}{{ t.function.parameters.properties.items }}{% endfor %}
{% for t in tools %}{% for k, v in t.function.parameters.properties.items() %}{{ k }}:{{ v.type }} {% endfor %}{% endfor %}
{% for c in messages[2].tool_calls %}{{ c.function.name }}({{ c.function.arguments|items|map('join', '=')|join(', ') }}){% endfor %}
{% for c in messages[2].tool_calls %}{{ c.function.arguments | tojson }}{{ c.function.arguments }}{% endfor %}
{% for p in messages[3].content %}{% if p.type == 'text' %}{{ p.text }}{% else %}<img>{% endif %}{% endfor %}
{% set ns = namespace(found=false) %}{% for m in messages if not ns.found %}{{ m.role }}{% if m.role == 'user' %}{% set ns.found = true %}{% endif %}{% endfor %}
{% set it = l|map('string') %}{{ it|list }}{{ it|list }}
{% set it = l|select %}{% for i in it %}{{ i }}{% endfor %}{% for i in it %}{{ i }}{% endfor %}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}
{% set j = joiner('; ') %}{% for i in l %}{{ j() }}{{ i }}{% endfor %}
{% set x = x %}{{ x }}
{% set s = s|upper %}{{ s }}
{{ messages[0] }}
{{ messages[2]['tool_calls'][0] }}
{{ '{% x %}' }}{{ "{{ y }}" }}
{{ '}}' }}
{{ {'a': {'b': 1}} }}
{{- s -}}
{{ s }
{% if s %}
{{ ) }}
{{ (1 }}
{{ [1) }}
{{ 1 2 }}
{{ }}
{{ 'a }}
{{ $ }}
{{ a.1b }}
{{ 1.x }}
{{ l.0 }}{{ ll.0.1 }}
{{ 'x' if x is defined and x > 2 else 'y' }}
{% if not messages or messages|length == 0 %}a{% else %}b{% endif %}
{% if 'tool_calls' in messages[2] and messages[2].tool_calls %}calls{% endif %}
{% if messages[0].tool_calls is defined and messages[0].tool_calls is not none %}a{% else %}b{% endif %}
{% set content = messages[1].content.split('\n')[-1].lstrip() %}{{ content }}
{% if '</b>' in messages[1].content %}{{ messages[1].content.split('</b>')[0].rstrip('\n').split('<b>')[-1].lstrip('\n') }}{% endif %}
{{ raise_exception('stop ' ~ n) if false }}
{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% else %}26 Jul 2024{% endif %}
{% if not date_string is defined %}{% set date_string = '26 Jul' %}{% endif %}{{ date_string }}
{% set a = [] %}{% for i in l %}{% set a = a + [i] %}{% endfor %}{{ a }}
{% set a = namespace(x=[]) %}{% for i in l %}{% set a.x = a.x + [i * 2] %}{% endfor %}{{ a.x|join(',') }}
{%- macro t(o, i=0) -%}{%- for k, v in o.items() -%}{{ ' ' * i }}{{ k }}: {% if v is mapping %}{{ '\n' }}{{ t(v, i + 2) }}{% else %}{{ v }}{{ '\n' }}{% endif %}{%- endfor -%}{%- endmacro -%}{{ t({'a': {'b': 1}, 'c': [2]}) }}
""".strip("\n")

# Templates of several lines.
WHOLE = [
    "  {% if true %}\n  x\n  {% endif %}\ny\n", "a\r\nb\rc\n\n", "  {%+ if true %}x{% endif +%}\ny", "a\n    {{ 1 }}\nb\n",
    "{% set a = 1 %}\n{% set b = 2 %}\n{{ a }}{{ b }}\n", "\t{% if true %}\tx\t{% endif %}\t\n", "{# c #}\n  {# d #}\nx",
    "  {#- c -#}  x", "{% raw %}\nx\n  {% endraw %}\ny", "  {% raw %}{{ a }}{% endraw %}  ", "x\n  {%- if true %}\ny{% endif %}",
    "{% if true -%}\n\n  x\n{%- endif %}\n\ny\n\n", "{{ 1 }}\n\n{{ 2 }}\n\n\n", "\n{% for i in l %}\n  {{ i }}\n{% endfor %}\n",
    "{% for m in messages %}\n    {%- if m.role == 'user' %}\n        {{- 'U:' + m.content }}\n    {%- endif %}\n{% endfor %}",
    "a  {%- if true +%}\nb{% endif %}", "a  {%+ if true -%}\nb{% endif %}", " \u00a0{% if true %}x{% endif %}", "{{ 'a\nb' }}",
    "{{ 'a\\\nb' }}", "{%if true%}x{%endif%}", "{{1}}{{-2-}} 3", "{% -%}", "{{ 1 +}}", "x{% if 1 %}\n\n{% endif %}y", "{#- -#}",
    "{# {{ x }} #}{# {% if %} #}ok", "{{ '#}' }}{# ' #}", "{% if true %}{# c #}\nx{% endif %}",
    "{% set a %}\n  x\n{% endset %}[{{ a }}]", "{% macro m() %}\n  x\n{% endmacro %}\n[{{ m() }}]",
    "{% filter indent(2) %}\na\nb\n{% endfilter %}", "{{ '" + "x" * 300 + "'|truncate(50) }}", "", "\n", "\n\n", "{", "{ {", "}}", "%}",
]

CASES = [("{{ " + line + " }}", 0) for line in EXPRESSIONS.replace("'\\x41\\u00e9\\101\\a\\b\\f\\v\\\nx\\q'", "'\\x41\\u00e9\\101\\a\\b\\f\\v\\q'").split("\n")]
CASES += [(line, 0) for line in TEMPLATES.split("\n")] + [(template, 0) for template in WHOLE]
