import TensorCore
import Testing

/// What files of adapters and runs rest on: these values must never change.
@Suite struct HashTests {
    /// Noll's published test values of the 64-bit FNV-1a.
    @Test(arguments: [
        ("", 0xCBF2_9CE4_8422_2325 as UInt64, "cbf29ce484222325"), ("a", 0xAF63_DC4C_8601_EC8C, "af63dc4c8601ec8c"),
        ("foobar", 0x8594_4171_F739_67E8, "85944171f73967e8"),
        ("chongo was here!\n", 0x4681_0940_EFF5_F915, "46810940eff5f915"),
        ("10", 0x07F8_9207_B4BA_08A4, "07f89207b4ba08a4"),
    ])
    func hashIsFNV1a(text: String, value: UInt64, digits: String) {
        var hash = FNVHash()
        hash.add(text)
        #expect(hash.value == value && hash.text == digits)
    }

    @Test func partsAddUp() {
        var whole = FNVHash()
        whole.add("foobar")
        var parts = FNVHash()
        parts.add("fo")
        Array("o".utf8).withUnsafeBytes { parts.add($0) }
        for byte in "bar".utf8 { parts.add(UInt64(byte)) }
        #expect(parts.value == whole.value)
    }

    @Test func streamsOfANameAreAlwaysTheSame() {
        let stream = RandomStream(seed: 7)
        #expect(stream.key == 0x63CB_E1E4_5932_0DD7)
        #expect(stream.forked("größe").key == 0x5414_B2B9_D7C3_DA13)
    }
}
