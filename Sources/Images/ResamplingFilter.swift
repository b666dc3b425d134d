import Glibc

/// How pixels between pixels are made up when a picture changes its size, by Pillow's numbers for them
/// (`Image.Resampling`).
package enum ResamplingFilter: Int, Sendable, CaseIterable {
    /// A sinc cut at three pixels.
    case lanczos = 1
    /// Straight lines between neighbours.
    case bilinear = 2
    /// Cubics with a = -1/2 (Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981).
    case bicubic = 3
    /// The mean of what a pixel covers.
    case box = 4
    /// A sinc cut at one pixel, in Hamming's window.
    case hamming = 5

    /// How far the filter reaches at the source's own size, pixels.
    var support: Double {
        switch self {
        case .box: 0.5
        case .bilinear, .hamming: 1
        case .bicubic: 2
        case .lanczos: 3
        }
    }

    /// The filter's weight at a distance, pixels.
    func weight(_ distance: Double) -> Double {
        let x = abs(distance)
        switch self {
        case .box: return distance > -0.5 && distance <= 0.5 ? 1 : 0
        case .bilinear: return x < 1 ? 1 - x : 0
        case .hamming:
            if x == 0 { return 1 }
            return x >= 1 ? 0 : sin(x * .pi) / (x * .pi) * (0.54 + 0.46 * cos(x * .pi))
        case .bicubic:
            let a = -0.5
            if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
            return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0
        case .lanczos:
            return -3 <= distance && distance < 3 ? Self.sinc(distance) * Self.sinc(distance / 3) : 0
        }
    }

    private static func sinc(_ x: Double) -> Double { x == 0 ? 1 : sin(x * .pi) / (x * .pi) }
}

/// Which pixels of a row (or column) a pixel of the new one is made of, in Pillow's fixed-point numbers, for the new
/// pixels of a range.
struct ResamplingTaps {
    /// For each new pixel the first old one.
    private(set) var firsts: [Int] = []
    /// For each new pixel how many.
    private(set) var counts: [Int] = []
    /// For each new pixel where its weights begin.
    private(set) var places: [Int] = []
    /// The weights, times 2^22.
    private(set) var weights: [Int32] = []

    /// The bits behind the point of a weight: 32 without those of a pixel and two for what overshoots.
    static let fractionBits = 32 - 8 - 2

    /// The taps for new pixels `range` of `newSize`, of `oldSize` old ones.
    init(_ filter: ResamplingFilter, from oldSize: Int, to newSize: Int, range: Range<Int>) {
        let scale = Double(oldSize) / Double(newSize)
        let stretch = max(scale, 1)
        let support = filter.support * stretch
        let inverse = 1 / stretch
        for pixel in range {
            let center = (Double(pixel) + 0.5) * scale
            let first = max(0, Int(center - support + 0.5))
            let end = min(oldSize, Int(center + support + 0.5))
            var own = (first..<end).map { filter.weight((Double($0 - first) + Double(first) - center + 0.5) * inverse) }
            let sum = own.reduce(0, +)
            if sum != 0 { own = own.map { $0 / sum } }
            firsts.append(first)
            counts.append(own.count)
            places.append(weights.count)
            weights += own.map { weight in
                let scaled = weight * Double(1 << Self.fractionBits)
                return Int32(weight < 0 ? scaled - 0.5 : scaled + 0.5)
            }
        }
    }
}
