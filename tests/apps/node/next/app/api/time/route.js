export const dynamic = 'force-dynamic';

export function GET(request) {
  return new Response(`asked at ${request.nextUrl.pathname}`);
}
