import TensorCore
import Testing

@Test func durationsAreGivenInSeconds() {
    #expect(Duration.milliseconds(1500).inSeconds == 1.5)
    #expect(Duration.seconds(-2).inSeconds == -2)
    #expect(Duration.zero.inSeconds == 0)
    #expect(abs(Duration.nanoseconds(1).inSeconds / 1e-9 - 1) < 1e-15)
}
