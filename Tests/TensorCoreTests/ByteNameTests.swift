import TensorCore
import Testing

@Suite struct ByteNameTests {
    static let composed = "caf\u{E9}"
    static let decomposed = "cafe\u{301}"

    @Test func canonicallyEquivalentNamesAreTwo() {
        #expect(Self.composed == Self.decomposed, "what Swift's strings say")
        #expect(ByteName(Self.composed) != ByteName(Self.decomposed))
        #expect(!Self.composed.hasSameBytes(as: Self.decomposed))
        #expect(Self.composed.hasSameBytes(as: "xcaf\u{E9}".dropFirst()))

        var table: NameTable<Int> = [Self.composed: 1]
        #expect(table.updateValue(2, forKey: Self.decomposed) == nil)
        #expect(table[Self.composed] == 1 && table[Self.decomposed] == 2 && table.count == 2)
        #expect(table.filter { $0.value == 2 }.keys.map { Array($0.utf8) } == [Array(Self.decomposed.utf8)])
        #expect(table.removeValue(forKey: Self.composed) == 1 && table.count == 1)
        table["x", default: 3] += 1
        #expect(table["x"] == 4)

        var names: NameSet = [Self.composed]
        #expect(names.insert(Self.decomposed).inserted && !names.insert(Self.composed).inserted)
        #expect(names.sorted().map { Array($0.utf8) } == [Array(Self.decomposed.utf8), Array(Self.composed.utf8)])
        #expect(names.subtracting([Self.composed]).count == 1)
        #expect(names.isDisjoint(with: ["cafe"]))
    }

    @Test func endingIsOfBytes() {
        #expect("a.caf\u{E9}".endsInBytes(of: ".caf\u{E9}"))
        #expect(!"a.cafe\u{301}".endsInBytes(of: ".caf\u{E9}"))
        #expect(!"a".endsInBytes(of: "aa"))
    }
}
