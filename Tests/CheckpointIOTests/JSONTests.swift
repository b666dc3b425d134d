import CheckpointIO
import Testing

@Test(arguments: [
    "", " ", "{", "[1,]", "[1 2]", "{\"a\":1,}", "{\"a\" 1}", "{a:1}", "{\"a\":1,\"a\":2}", "01", "1.", ".5", "+1",
    "1e",
    "-", "tru", "nul", "\"", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\n\"",
    "1 2",
    "[] x", "NaN", "Infinity", "'a'", "\u{FEFF}1", "// 1\n1",
])
func textThatIsNotJSONIsRefused(_ text: String) {
    #expect(throws: JSONError.self) { try JSONValue.parse(text) }
}

@Test func textsAndKeysAreEqualWhereTheirBytesAre() throws {
    let texts = ["\"caf\u{E9}\"", "[\"cafe\u{301}\"]", "{\"caf\u{E9}\": 1}"]
    for text in texts {
        let other = text.contains("e\u{301}") ? "[\"caf\u{E9}\"]" : text.replacing("\u{E9}", with: "e\u{301}")
        #expect(try JSONValue.parse(text) == JSONValue.parse(text))
        #expect(try JSONValue.parse(text) != JSONValue.parse(other))
    }
}

@Test func invalidUTF8IsRefused() {
    for bytes in [[0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xC3]] as [[UInt8]] {
        #expect(throws: JSONError.self) { try JSONValue.parse([0x22] + bytes + [0x22]) }
    }
}

@Test func nestingHasALimitAndNoCrash() throws {
    let deep = JSONValue.depthLimit
    _ = try JSONValue.parse(String(repeating: "[", count: deep) + String(repeating: "]", count: deep))
    #expect(throws: JSONError.self) { try JSONValue.parse(String(repeating: "[", count: 1_000_000)) }
    #expect(throws: JSONError.self) { try JSONValue.parse(String(repeating: "{\"a\":", count: 100_000)) }
}

@Test func errorNamesItsLine() throws {
    let error = try #require(throws: JSONError.self) { try JSONValue.parse("{\n\"a\": 1,\n\"b\": x}") }
    #expect(error.line == 3 && error.offset == 15)
}

@Test func valuesAndOrderSurviveWritingAndReading() throws {
    let text =
        #"{"z": [1, -2.5e-3, 18446744073709551615, true, null], "a": {"é\"\\": "\n\u0001😀"}, "empty": [], "none": {}}"#
    let value = try JSONValue.parse(text)
    #expect(value.text() == text)
    #expect(try JSONValue.parse(value.text(indent: 2)) == value)
    #expect(value.objectValue?.keys == ["z", "a", "empty", "none"])
    #expect(try JSONValue.parse(#""\u00e9\ud83d\ude00\/\b\f""#).stringValue == "é😀/\u{8}\u{C}")
    #expect(value.text(sortedKeys: true).hasPrefix(#"{"a""#))
}

@Test func indentedTextIsLaidOutAsPythonDoes() throws {
    let value = try JSONValue.parse(#"{"b":[1,{"c":2}],"a":[]}"#)
    #expect(
        value.text(indent: 2, sortedKeys: true) == """
            {
              "a": [],
              "b": [
                1,
                {
                  "c": 2
                }
              ]
            }
            """)
}

@Test func integersAreReadExactly() throws {
    #expect(try JSONValue.parse("9223372036854775807").intValue == Int.max)
    #expect(try JSONValue.parse("9223372036854775808").intValue == nil)
    #expect(try JSONValue.parse("2.0").intValue == 2)
    #expect(try JSONValue.parse("2e3").intValue == 2000)
    #expect(try JSONValue.parse("2.5").intValue == nil)
    #expect(try JSONValue.parse("true").intValue == nil)
    #expect(JSONValue.real(Double.nan) == .null && JSONValue.real(Float(0.1)).text() == "0.1")
}

@Test func keysThatOnlyLookAlikeAreTwoKeys() throws {
    let value = try JSONValue.parse("{\"\u{E9}\": 1, \"e\u{301}\": 2}")
    #expect(value["\u{E9}"]?.intValue == 1 && value["e\u{301}"]?.intValue == 2)
}

@Test func elementsOfAnArrayKnowTheirLines() throws {
    let elements = try JSONValue.parseArrayWithLines("\n[\n 1,\n\n {\"a\":\n 2}, 3]".utf8)
    #expect(elements.map(\.line) == [3, 5, 6])
}

@Test func membersCanBeChangedAndTakenOut() {
    var object: JSONObject = ["a": .integer(1), "b": .integer(2)]
    object["a"] = .integer(3)
    object["c"] = .null
    object["b"] = nil
    object["none"] = nil
    #expect(object.keys == ["a", "c"] && object["a"]?.intValue == 3 && object.count == 2)
}
