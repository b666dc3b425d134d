import Glibc

/// A stream of random numbers that is a pure function of a key and a counter, so that it can be saved in 16 bytes and
/// continued exactly.
///
/// Draw `n` of a stream is `mix(key + n * golden)`, the SplitMix64 generator of Steele, Lea and Flood, "Fast Splittable
/// Pseudorandom Number Generators" (OOPSLA 2014). The same key gives the same numbers on every machine.
package struct RandomStream: Sendable, Equatable {
    /// What tells this stream from another; 64 bits.
    package let key: UInt64
    /// Numbers drawn so far.
    package private(set) var counter: UInt64

    /// The increment of SplitMix64: 2^64 divided by the golden ratio, odd.
    private static let golden: UInt64 = 0x9E37_79B9_7F4A_7C15

    /// The stream of `seed`, `counter` numbers in.
    package init(seed: UInt64, counter: UInt64 = 0) {
        key = Self.mix(seed &+ Self.golden)
        self.counter = counter
    }

    /// A stream of its own for a purpose, such as one module's initial values: independent of how much is drawn here.
    package func forked(_ label: String) -> RandomStream {
        var hash = FNVHash()
        hash.add(label)
        return RandomStream(seed: key ^ hash.value)
    }

    /// A stream of its own for the `index`-th occasion, such as a step.
    package func forked(_ index: UInt64) -> RandomStream {
        RandomStream(seed: key ^ Self.mix(index &+ Self.golden))
    }

    /// SplitMix64's output function.
    package static func mix(_ value: UInt64) -> UInt64 {
        var z = value
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// The next 64 bits.
    package mutating func nextBits() -> UInt64 {
        counter &+= 1
        return Self.mix(key &+ counter &* Self.golden)
    }

    /// Uniform in [0, 1), 53 bits.
    package mutating func nextUniform() -> Double {
        Double(nextBits() >> 11) * 0x1p-53
    }

    /// `count` numbers uniform in [-bound, bound), rounded to Float.
    package mutating func uniforms(_ count: Int, bound: Double) -> [Float] {
        (0..<count).map { _ in Float((2 * nextUniform() - 1) * bound) }
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller; the second number of a pair is not used).
    package mutating func nextNormal() -> Double {
        let radius = (-2 * log(1 - nextUniform())).squareRoot()
        return radius * cos(2 * .pi * nextUniform())
    }

    /// Uniform in 0..<bound, without modulo bias (Lemire's multiplication with rejection).
    package mutating func nextIndex(below bound: Int) -> Int {
        precondition(bound > 0, "an index needs a positive bound")
        let limit = UInt64(bound)
        let threshold = (0 &- limit) % limit
        while true {
            let (high, low) = nextBits().multipliedFullWidth(by: limit)
            if low >= threshold { return Int(high) }
        }
    }

    /// The indices 0..<count in random order (Fisher and Yates).
    package mutating func permutation(of count: Int) -> [Int] {
        var order = Array(0..<count)
        var index = count - 1
        while index > 0 {
            order.swapAt(index, nextIndex(below: index + 1))
            index -= 1
        }
        return order
    }
}
